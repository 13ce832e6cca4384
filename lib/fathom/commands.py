"""What each command of python -m fathom does: entries of params.yaml, engines, and the rest.

`comparison` is imported where it is needed: it brings law, a second that most commands do without.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from fathom import figures, notebooks, store
from fathom.spec import (
    SAMPLES,
    Law,
    Machine,
    Probe,
    Refused,
    Run,
    cases,
    check_measure,
    count,
    grid,
    nearest,
    sampled,
    settings,
)

TRAINS = ("sweep", "probe")
ENGINES = (*TRAINS, "limit", "law")
MACHINE = tuple(name for name in Machine.model_fields if name != "bar")
MANY = 20_000  # runs of an entry that take more than a second to name


def entries(engine: str) -> dict[str, object]:
    """The entries of an engine in params.yaml, by name; raises Refused where they are not that."""
    there = store.params().get(engine) or {}
    if not isinstance(there, dict) or not all(isinstance(name, str) for name in there):
        raise Refused(f"params.yaml {engine}: found {there!r:.60}; give entries, each with a name")
    return there


def entry(engine: str, name: str) -> object:
    """An entry of params.yaml; raises Refused where there is none of that name."""
    there = entries(engine)
    if name not in there:
        raise Refused(f"params.yaml {engine}: {name} {nearest(name, there)}")
    return there[name]


def checked(engine: str, name: str) -> tuple[list[Run], str]:
    """An entry's runs and measure, all of it checked before a kernel starts."""
    said, place = entry(engine, name), f"params.yaml {engine}.{name}"
    if engine == "law":
        settings(Law, said, place)
        return [], "law"
    if engine == "limit":
        cases(said, place)
        return [], "limit"
    said, place, measure = grids(engine, name)
    runs = grid(said, place)
    check_measure(runs, measure, place)
    return runs, measure


def grids(engine: str, name: str) -> tuple[object, str, str]:
    """The grids of an entry that trains or measures, the place they stand at, and the measure."""
    said, place = entry(engine, name), f"params.yaml {engine}.{name}"
    if engine == "probe":
        asked = settings(Probe, said, place)
        return asked.runs, f"{place}.runs", asked.measure
    return said, place, "train"


def announce(engine: str, name: str) -> None:
    """Say how many runs a large entry has; raises Refused where they are more than it may have."""
    many = count(*grids(engine, name)[:2])
    if many > MANY:
        print(f"{engine}.{name}: {many} runs; to name them all takes some seconds", flush=True)


def trained(name: str | None) -> list[tuple[str, str]]:
    """The (engine, entry) pairs that train or measure networks; all of them without a name."""
    there = {key: engine for engine in TRAINS for key in entries(engine)}
    if name is not None and name not in there:
        raise Refused(f"params.yaml: {name} {nearest(name, there)}")
    return [(engine, key) for key, engine in there.items() if name in (None, key)]


def machine() -> Machine:
    """What the environment says to train on; the command's flags were written into it."""
    said = {name: os.environ.get(f"FATHOM_{name.upper()}", "") for name in MACHINE}
    return settings(Machine, {name: _plain(word) for name, word in said.items() if word}, "machine")


def _plain(word: str) -> Any:
    """A number as a number, anything else as the word it is."""
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        return word


def engine(kind: str, name: str, root: str = "artifacts") -> None:
    """Run an engine notebook on an entry; its table goes below `root`."""
    if kind in TRAINS:
        announce(kind, name)
    checked(kind, name)
    built = f"{kind}/{name}" if root == "artifacts" else f"retrained/{kind}/{name}"
    given = {"name": name, "entry": entry(kind, name), "root": root}
    if kind in TRAINS:
        given["machine"] = {**machine().model_dump(), "bar": "text"}
    notebooks.run(kind, given, built, kernel=kind in TRAINS)


def plan(name: str | None, root: str = "artifacts") -> None:
    """Print the grids of entries, what is known, and what the rest would take on this machine.
    A faulty entry is refused before anything starts."""
    if name and name in entries("limit"):
        print(_solved(name))
        return
    asked = trained(name)
    for kind, key in asked:
        announce(kind, key)
    import pandas as pd

    from fathom.sweeps.plan import estimate, forecast, swept
    from fathom.sweeps.sweep import reusable

    here, all_found = machine(), []
    for kind, key in asked:
        runs, measure = checked(kind, key)
        done = {row["key"] for row in reusable(runs, measure, store.known(f"{kind}/{key}", root))}
        rest = [run for run in runs if run.key not in done]
        print(f"{kind}.{key}: {len(runs)} runs, {len(done)} known", flush=True)
        if name or rest:
            print("\n".join(f"  {line}" for line in swept(runs)), flush=True)
        if rest:
            all_found.append(estimate(rest, measure, here))
            print(all_found[-1].round(1).to_string(index=False), flush=True)
    if all_found:
        print(forecast(pd.concat(all_found), here))


def _solved(name: str) -> str:
    """What an entry of limit holds, and what those cases take that Monte Carlo solves."""
    found = cases(entry("limit", name), f"params.yaml limit.{name}")
    from fathom.sweeps.plan import span
    from fathom.theory.dmft import dmft_cost

    said, by_sites = f"limit.{name}: {len(found)} cases, solved on one core", sampled(found)
    if not by_sites:
        return said
    costs = [
        dmft_cost(depth, one.steps + 1, SAMPLES[one.task], one.sites)
        for one in by_sites
        for depth in one.depths
    ]
    seconds, most = sum(cost.seconds for cost in costs), max(cost.gigabytes for cost in costs)
    many = f"{len(by_sites)} trainings by Monte Carlo"
    return f"{said}\n  {many}: about {span(seconds)} and {most:.2g} GB"


def retrain(name: str | None) -> None:
    """Train entries anew below build/, and when all are complete put them in place, bring
    the rest of the suite up to date, and compare. After an interruption the same command goes on
    where it was."""
    from fathom import comparison

    pairs = trained(name)
    tables = [f"{kind}/{key}" for kind, key in pairs]
    comparison.check_history()
    store.check_leave()
    plan(name, comparison.RETRAINED)
    for kind, key in pairs:
        engine(kind, key, comparison.RETRAINED)
    store.promote(tables, comparison.RETRAINED)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=store.ROOT, check=True)
    comparison.print_comparison()
    store.discard(tables, comparison.RETRAINED)


def data() -> None:
    """Bring Fashion-MNIST, and say what was done."""
    from fathom.networks import fashion

    print(fashion.bring())


def write_inputs() -> None:
    """Write what each stage depends on besides tables."""
    from fathom import inputs

    for kind in ENGINES:
        entries(kind)  # raises Refused for a faulty entry
    store.save_texts(inputs.texts(), "artifacts/inputs")


def redraw(name: str | None) -> None:
    """Redraw figures from the tables, and say which differ from the committed ones."""
    from fathom import comparison

    names = figures.names()
    if name is not None and name not in names:
        raise Refused(f"figures: {name} {nearest(name, names)}")
    for drawn in figures.draw([name] if name else names):
        print(f"drawn: {drawn}", flush=True)
    changed = comparison.changed("figures")
    if changed is None:
        print("git cannot compare them with the committed figures here; make compare says why.")
    elif changed:
        print(f"These differ from the committed ones: {', '.join(changed)}.")
        print("On another type of CPU, or after a change of tables, that is to be expected.")
    else:
        print("All figures are byte for byte the committed ones.")


def compare() -> None:
    """Print committed against present."""
    from fathom import comparison

    comparison.print_comparison()


def report() -> None:
    """Print what holds, and what to type next."""
    from fathom.report import print_report

    print_report()


def write_pages() -> None:
    """Write the pages that are made from tables: claims, gallery, manifest, counts, headlines."""
    from fathom import pages

    pages.write()


def stamp() -> None:
    """Run the notebooks with a claim cell and store what it prints."""
    from fathom.report import PAPERS

    for name in [f"{paper}/claims" for paper in PAPERS] + figures.names():
        copy = notebooks.run(name, {"root": "build/stamp"}, f"stamp/{name}", live=False)
        notebooks.stamp(notebooks.NOTEBOOKS / f"{name}.ipynb", copy)
        print(f"stamped: {name}", flush=True)


COMMANDS: dict[str, Callable[[], None]] = {
    "data": data,
    "inputs": write_inputs,
    "compare": compare,
    "report": report,
    "pages": write_pages,
    "stamp": stamp,
}
NAMING: dict[str, Callable[[str | None], None]] = {
    "plan": plan,
    "retrain": retrain,
    "figures": redraw,
}


def do(words: list[str]) -> None:
    """Do what the command line asks."""
    first, name = words[0], words[1] if len(words) > 1 else None
    most = 1 if first in (*ENGINES, *NAMING) else 0
    if len(words) > 1 + most:
        takes = "one name" if most else "no name"
        raise Refused(f"{' '.join(words)}: {first} takes {takes}, found {len(words) - 1}")
    if first in ENGINES:
        if name is None:
            raise Refused(f"{first}: name an entry: {', '.join(entries(first))}")
        engine(first, name)
    elif first in NAMING:
        NAMING[first](name)
    elif first in COMMANDS:
        COMMANDS[first]()
    elif first in figures.names() and "DVC_STAGE" in os.environ:
        figures.draw_stage(first)
    elif first in notebooks.names():
        root = "artifacts" if first.endswith("/claims") else "figures"
        notebooks.run(first, {"root": root}, first)
    else:
        there = [*ENGINES, *COMMANDS, *NAMING]
        there += [one for one in notebooks.names() if one not in ENGINES]
        raise Refused(f"{first} {nearest(first, there)}")


def answer(words: list[str]) -> int:
    """Do it; returns 0, 1 where a notebook failed, or 2 with one sentence for input that is
    refused."""
    try:
        do(words)
    except Refused as error:
        print(f"fathom: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        said = notebooks.refusal(error)
        if said is None:
            raise
        print(f"fathom: {said}", file=sys.stderr)
        return 2
    except notebooks.Failed as error:
        print(f"fathom: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0
