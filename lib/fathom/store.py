"""Files: the only room that touches the disk. Tables and figures in and out, byte-stable.

A table is CSV; its first line, a comment, carries a digest of the rest and the versions
it was made with. A table whose digest is wrong is refused: numbers edited by hand must
never become official. Everything is written beside its place and then moved into it.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fathom.spec import Refused, nearest

ROOT = Path(__file__).resolve().parents[2]
MADE_WITH = ("torch", "numpy", "scikit-learn", "scipy")


def place(name: str, root: str = "artifacts") -> Path:
    """The path of a table such as "sweep/tp6_resmlp" under a root such as "build/smoke"."""
    return ROOT / root / f"{name}.csv"


def text(table: pd.DataFrame) -> str:
    """A table as text: rows sorted from the first column on, seven significant digits, and
    no time, host or path anywhere."""
    shown = table.copy()
    for name in shown.select_dtypes("float").columns:
        shown[name] = shown[name].map(lambda number: float(f"{number:.7g}"))
    rows = shown.sort_values(list(shown.columns), kind="stable", ignore_index=True)
    body = rows.to_csv(index=False, float_format="%.7g", lineterminator="\n")
    versions = ", ".join(f"{name} {version(name).split('+')[0]}" for name in MADE_WITH)
    return f"# fathom {_digest(body)} made with {versions}\n{body}"


def write(table: pd.DataFrame, name: str, root: str = "artifacts") -> None:
    """Write a table in place of the old one, whole or not at all."""
    _replace(place(name, root), text(table))


def read(name: str, root: str = "artifacts") -> pd.DataFrame:
    """A table; raises Refused where it is missing or not what was written."""
    path = place(name, root)
    if not path.exists():
        there = sorted(
            p.relative_to(ROOT / root).with_suffix("").as_posix()
            for p in (ROOT / root).rglob("*.csv")
        )
        raise Refused(
            f"{root}/{name}.csv: missing; git checkout or dvc repro brings back a table that "
            f"belongs there, and the name {nearest(name, there)}"
        )
    said = path.read_text()
    digest(name, root)
    return parse(said)


def parse(said: str) -> pd.DataFrame:
    """A table from its text; a key is a word even where its digits look like a number."""
    words = {"key": str}
    return pd.read_csv(
        io.StringIO(said), comment="#", dtype=words, keep_default_na=False, na_values=[""]
    )


def digest(name: str, root: str = "artifacts") -> str:
    """The digest in a table's first line, checked against the rest of it."""
    path = place(name, root)
    head, _, body = path.read_text().partition("\n")
    words = head.split()
    if words[:2] != ["#", "fathom"] or len(words) < 3 or words[2] != _digest(body):
        raise Refused(
            f"{root}/{name}.csv: its rows are not those its first line vouches for (edited by "
            f"hand, or cut short); restore it with: git checkout -- {root}/{name}.csv"
        )
    return words[2]


def promote(names: list[str], root: str) -> None:
    """Move tables from another root, such as build/retrained, into the committed ones' place:
    all of them, or none where one is missing or not what was written."""
    for name in names:
        read(name, root)
    for name in names:
        os.replace(place(name, root), place(name))


def known(name: str, root: str = "artifacts") -> pd.DataFrame | None:
    """The rows that need not be trained again: those of the table, if there is one, and
    those a killed sweep left in its journal."""
    rows = [read(name, root)] if place(name, root).exists() else []
    lines = [_line(line) for line in _lines(name, root)]
    rows.append(pd.DataFrame([row for row in lines if row]))
    return pd.concat([part for part in rows if len(part)]) if any(map(len, rows)) else None


def keeper(name: str, root: str = "artifacts") -> Callable[[list[dict[str, Any]]], None]:
    """A function that adds finished rows to the sweep's journal, on disk when it returns."""
    path = _journal(name, root)
    path.parent.mkdir(parents=True, exist_ok=True)

    def keep(rows: list[dict[str, Any]]) -> None:
        cut = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a") as journal:
            journal.write("\n" if cut else "")
            journal.writelines(f"{json.dumps(row)}\n" for row in rows)
            journal.flush()
            os.fsync(journal.fileno())

    return keep


def forget(name: str, root: str = "artifacts") -> None:
    """Remove the journal of a sweep whose table is written."""
    _journal(name, root).unlink(missing_ok=True)


def _journal(name: str, root: str) -> Path:
    return ROOT / "build" / "journal" / root / f"{name}.jsonl"


def _lines(name: str, root: str) -> list[str]:
    path = _journal(name, root)
    return path.read_text().splitlines() if path.exists() else []


def _line(line: str) -> dict[str, Any] | None:
    """A journal line; None where a killed process left only a part of it."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def params(name: str = "params.yaml") -> dict[str, Any]:
    """A YAML file of the suite as plain data; raises Refused with the line that is wrong."""
    try:
        said = YAML(typ="safe", pure=True).load(ROOT / name)
    except OSError:
        raise Refused(f"{name}: missing or unreadable") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise Refused(f"{name}{where}: {getattr(error, 'problem', None) or 'not YAML'}") from None
    if not isinstance(said, dict):
        raise Refused(f"{name}: found {said!r}; give a mapping of engines to experiments")
    return said


class Drawn(Protocol):
    """A finished figure: its SVG and its alternative text."""

    @property
    def svg(self) -> str: ...
    @property
    def alt(self) -> str: ...


def save_figure(picture: Drawn, name: str, root: str = "figures") -> None:
    """Write a figure as <name>.svg and its alternative text as <name>.txt."""
    _replace(ROOT / root / f"{name}.svg", picture.svg)
    _replace(ROOT / root / f"{name}.txt", picture.alt + "\n")


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _replace(path: Path, said: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(said)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
