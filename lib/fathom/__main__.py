"""The one door: python -m fathom COMMAND.

  sweep|probe|law NAME    run an engine on an entry of params.yaml
  <paper>/<notebook>      draw one figure, or evaluate a paper's claims
  plan [NAME]             what an entry holds, what is known, what the rest would take here
"""

import argparse
import sys
import warnings

from fathom import store
from fathom.spec import Law, Probe, Refused, Run, grid, nearest, settings

ENGINES = ("sweep", "probe", "law")


def entry(engine: str, name: str) -> object:
    """An entry of params.yaml; raises Refused where there is none of that name."""
    there = store.params().get(engine) or {}
    if name not in there:
        raise Refused(f"params.yaml {engine}: {name} {nearest(name, there)}")
    return there[name]


def checked(engine: str, name: str) -> list[Run]:
    """The runs of an entry, all of it checked before a kernel starts (a law entry has none)."""
    said, place = entry(engine, name), f"params.yaml {engine}.{name}"
    if engine == "law":
        settings(Law, said, place)
        return []
    if engine == "probe":
        return grid(settings(Probe, said, place).runs, f"{place}.runs")
    return grid(said, place)


def run(words: list[str]) -> None:
    """Run an engine or a figure notebook, into artifacts/ and figures/."""
    from fathom import book

    first, *rest = words
    if first in ENGINES:
        if len(rest) != 1:
            raise Refused(f"{first}: name one entry of params.yaml {first}")
        checked(first, rest[0])
        given = {"name": rest[0], "entry": entry(first, rest[0]), "root": "artifacts"}
        book.run(first, given, f"{first}/{rest[0]}")
    else:
        book.run(first, {"root": "artifacts" if first.endswith("claims") else "figures"}, first)


def main() -> int:
    """Do what the command line asks; 0, or 2 with one sentence for input that is refused."""
    warnings.filterwarnings("ignore", module="papermill|jupyter_client|zmq")
    parser = argparse.ArgumentParser(prog="python -m fathom", description=__doc__)
    parser.add_argument("words", nargs="+")
    words = parser.parse_args().words
    try:
        run(words)
    except Refused as error:
        print(f"fathom: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
