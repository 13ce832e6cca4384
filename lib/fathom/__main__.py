"""The one door: python -m fathom COMMAND.

sweep|probe|law NAME   run an engine on an entry of params.yaml
PAPER/NOTEBOOK         run a notebook of a paper: a figure, or claims
plan [NAME]            what an entry holds, what is known, what the rest would take here
retrain [NAME]         train an entry (or all) anew, beside the committed tables
compare                the committed numbers beside the present ones, claim by claim
figures [NAME]         redraw one figure (or all) from the tables
report                 what holds, where the figures are, what to type next
manifest               write figures/manifest.csv
stamp                  store the verdicts of the claim cells in the notebooks
"""

import argparse
import subprocess
import sys

from fathom import store
from fathom.spec import Law, Probe, Refused, Run, grid, nearest, settings

TRAINS = ("sweep", "probe")
ENGINES = (*TRAINS, "law")
COMMANDS = ("plan", "retrain", "compare", "figures", "report", "manifest", "stamp")


def entry(engine: str, name: str) -> object:
    """An entry of params.yaml; raises Refused where there is none of that name."""
    there = store.params().get(engine) or {}
    if name not in there:
        raise Refused(f"params.yaml {engine}: {name} {nearest(name, there)}")
    return there[name]


def checked(engine: str, name: str) -> tuple[list[Run], str]:
    """An entry's runs and measure, all of it checked before a kernel starts."""
    said, place = entry(engine, name), f"params.yaml {engine}.{name}"
    if engine == "law":
        settings(Law, said, place)
        return [], "law"
    if engine == "probe":
        asked = settings(Probe, said, place)
        return grid(asked.runs, f"{place}.runs"), asked.measure
    return grid(said, place), "train"


def trained(name: str | None) -> list[tuple[str, str]]:
    """The (engine, entry) pairs that train or measure networks; all of them without a name."""
    said = store.params()
    there = {key: engine for engine in TRAINS for key in said.get(engine) or {}}
    if name is not None and name not in there:
        raise Refused(f"params.yaml: {name} {nearest(name, there)}")
    return [(engine, key) for key, engine in there.items() if name in (None, key)]


def engine(kind: str, name: str, root: str = "artifacts") -> None:
    """Run an engine notebook on an entry; its table goes below `root`."""
    from fathom import book

    checked(kind, name)
    built = f"{kind}/{name}" if root == "artifacts" else f"retrained/{kind}/{name}"
    book.run(kind, {"name": name, "entry": entry(kind, name), "root": root}, built)


def plan(name: str | None, root: str = "artifacts") -> None:
    """Print what entries hold, what is known, and what the rest would take on this machine."""
    from joblib import cpu_count

    from fathom.net.sweep import estimate, reusable

    total = 0.0
    for kind, key in trained(name):
        runs, measure = checked(kind, key)
        done = {row["key"] for row in reusable(runs, measure, store.known(f"{kind}/{key}", root))}
        rest = [run for run in runs if run.key not in done]
        print(f"{kind}.{key}: {len(runs)} runs, {len(done)} known", flush=True)
        if rest:
            found = estimate(rest, measure)
            total += float(found["core_seconds"].sum())
            print(found.round(1).to_string(index=False), flush=True)
    minutes, workers = total / cpu_count() / 60, cpu_count()
    print(f"about {minutes:.1f} minutes on {workers} cores, from a few measured steps")


def retrain(name: str | None) -> None:
    """Train entries anew below build/, and when all are complete put them in place, bring
    the rest of the suite up to date, and compare. Interrupted, it goes on where it was."""
    from fathom import replicate

    pairs = trained(name)
    plan(name, replicate.RETRAINED)
    for kind, key in pairs:
        engine(kind, key, replicate.RETRAINED)
    store.promote([f"{kind}/{key}" for kind, key in pairs], replicate.RETRAINED)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=store.ROOT, check=True)
    replicate.print_comparison()


def redraw(name: str | None) -> None:
    """Redraw figures from the tables, and say which differ from the committed ones."""
    from fathom import replicate

    names = replicate.figures()
    if name is not None and name not in names:
        raise Refused(f"figures: {name} {nearest(name, names)}")
    changed = replicate.redraw([name] if name else names)
    if changed:
        print(f"These differ from the committed ones: {', '.join(changed)}.")
        print("On another type of CPU, or after a change of tables, that is to be expected.")
    else:
        print("All figures are byte for byte the committed ones.")


def stamp() -> None:
    """Run the notebooks with a claim cell and store what it prints."""
    from fathom import book, replicate

    for name in [f"{paper}/claims" for paper in replicate.PAPERS] + replicate.figures():
        copy = book.run(name, {"root": "build/stamp"}, f"stamp/{name}", live=False)
        book.stamp(book.NOTEBOOKS / f"{name}.ipynb", copy)
        print(f"stamped: {name}", flush=True)


def do(words: list[str]) -> None:
    """Do what the command line asks."""
    from fathom import book, replicate

    first, name = words[0], words[1] if len(words) > 1 else None
    if first in ENGINES:
        if name is None:
            raise Refused(f"{first}: name an entry: {', '.join(store.params().get(first) or {})}")
        engine(first, name)
    elif first in ("plan", "retrain", "figures"):
        {"plan": plan, "retrain": retrain, "figures": redraw}[first](name)
    elif first == "compare":
        replicate.print_comparison()
    elif first == "report":
        replicate.print_report()
    elif first == "manifest":
        store.write(replicate.manifest(), "manifest", "figures")
    elif first == "stamp":
        stamp()
    elif first in book.names():
        book.run(first, {"root": "artifacts" if first.endswith("/claims") else "figures"}, first)
    else:
        there = [*ENGINES, *COMMANDS, *(one for one in book.names() if one not in ENGINES)]
        raise Refused(f"{first} {nearest(first, there)}")


def main() -> int:
    """0; 1 where a notebook failed; 2 with one sentence for input that is refused; 130 when
    interrupted."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m fathom", description=__doc__, formatter_class=about)
    parser.add_argument("words", nargs="+", metavar="COMMAND", help="one of the above")
    words = parser.parse_args().words
    from fathom.book import Failed

    try:
        do(words)
    except Refused as error:
        print(f"fathom: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(f"fathom: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        print(
            "fathom: interrupted; what is finished is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
