"""Figures: which are out of date, and drawing them from their notebooks, two at a time.

Every figure is drawn in a fork of one process, which has imported what all of them need.
"""

import importlib
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import psutil

from fathom import drawn, notebooks, store
from fathom.spec import Refused

NEEDED = ("fathom.claim", "fathom.draw", "fathom.law", "fathom.phi")


def names() -> list[str]:
    """The figure notebooks: all that belong to a paper, but for its claims."""
    return [name for name in notebooks.names() if "/" in name and not name.endswith("/claims")]


def draw(figures: Iterable[str], *, skip: bool = False) -> Iterator[str]:
    """Draw figures from the tables, in the order given; yields the name of each when it is there.

    Raises what its notebook raised; with `skip` a figure that cannot be drawn is left out."""
    for module in NEEDED:
        importlib.import_module(module)
    with multiprocessing.get_context("fork").Pool(2, _leave_interrupts, maxtasksperchild=1) as pool:
        for name, error in pool.imap(_draw, figures):
            if error is None:
                yield name
            elif not skip:
                raise error


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its forks


def _draw(name: str) -> tuple[str, Exception | None]:
    try:
        notebooks.run(name, {"root": "figures"}, name, live=False)
    except (Refused, notebooks.Failed) as error:
        return name, error
    return name, None


def draw_stage(name: str) -> None:
    """Draw the figure of a stage of DVC, and ahead of their stages all others that are out of
    date, unless DVC was asked for some stages only."""
    others = [] if _asked_for_some() else [one for one in stale() if one != name]
    list(draw([name]) if not others else _with_others(name, others))


def _with_others(name: str, others: list[str]) -> Iterator[str]:
    stages, done = _stages(), []
    for one in draw([name, *others], skip=True):
        done.append(one)
        yield one
    if name not in done:
        yield from draw([name])  # raises what is wrong with it
    drawn.leave({one: drawn.digests(_paths(stages[one])) for one in done if one != name})


def stale() -> list[str]:
    """The figures whose notebook, tables or code are not those that dvc.lock names."""
    locked = store.params("dvc.lock")["stages"]
    by_path: dict[str, str] = {}
    found = []
    for notebook, (stage, said) in _stages().items():
        was = {one["path"]: one["md5"] for one in locked.get(stage, {}).get("deps", [])}
        for path in said["deps"]:
            if path not in by_path:
                by_path |= drawn.digests([path]) or {path: ""}
        if any(by_path[path] != was.get(path) for path in said["deps"]):
            found.append(notebook)
    return found


def _stages() -> dict[str, tuple[str, dict[str, Any]]]:
    """The stages of figures by the names of their notebooks."""
    found = {}
    for stage, said in store.params("dvc.yaml")["stages"].items():
        outs = [out for one in said.get("outs", []) for out in one]
        if any(out.endswith(".svg") for out in outs):
            found[said["cmd"].split()[-1]] = (stage, {**said, "outs": outs})
    return found


def _paths(stage: tuple[str, dict[str, Any]]) -> list[str]:
    return [*stage[1]["deps"], *stage[1]["outs"]]


def _asked_for_some() -> bool:
    """Whether the dvc repro that runs this stage was given targets."""
    for process in psutil.Process(os.getpid()).parents():
        words = process.cmdline()
        if "repro" in words[:4]:
            return any(not word.startswith("-") for word in words[words.index("repro") + 1 :])
    return False
