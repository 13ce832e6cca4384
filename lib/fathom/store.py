"""Files: the only module that touches the disk. Tables and figures in and out, byte-stable.

A table is CSV; its first line, a comment, carries a digest of the rest and the versions
it was made with. A table whose digest is wrong is refused: numbers edited by hand must
never become official. Everything is written beside its place and then moved into it.
"""

import copy
import errno
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TextIO
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fathom.paths import ROOT, VARIABLE
from fathom.spec import Refused, nearest

_parsed = lru_cache(maxsize=4)(lambda text: YAML(typ="safe").load(text))  # which takes its time
MADE_WITH = ("torch", "numpy", "scikit-learn", "scipy")


def folder(root: str) -> Path:
    """The folder that a root such as "artifacts" or "build/smoke" names: one of the repository,
    but that FATHOM_BUILD, where it is set, stands in for build/. Raises Refused where it cannot."""
    parts, given = Path(root).parts, os.environ.get(VARIABLE)
    if parts[:1] != ("build",) or not given:
        return ROOT / root
    there = Path(given).resolve()
    inside = there.is_relative_to(ROOT) and not there.is_relative_to(ROOT / "build")
    if inside or not Path(given).is_absolute():
        raise Refused(
            f"{VARIABLE}: {given!r} cannot stand in for build/; give the whole path of a folder "
            "outside the repository, such as /tmp/fathom, or leave it unset"
        )
    return there.joinpath(*parts[1:])


def place(name: str, root: str = "artifacts") -> Path:
    """The path of a table such as "sweep/tp6_resmlp" under a root such as "build/smoke"."""
    return folder(root) / f"{name}.csv"


def check_leave(root: str = "artifacts") -> None:
    """Raises OSError where nothing can be written below a root, before work is done for it."""
    path = folder(root)
    there = next(one for one in (path, *path.parents) if one.exists())
    if not os.access(there, os.W_OK):
        code = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code), str(path))


def text(table: pd.DataFrame) -> str:
    """A table as text: rows sorted from the first column on, seven significant digits, and
    no time, host or path anywhere."""
    shown = table.copy()
    for name in shown.select_dtypes("float").columns:
        shown[name] = shown[name].map(lambda number: float(f"{number:.7g}"))
    rows = shown.sort_values(list(shown.columns), kind="stable", ignore_index=True)
    body = rows.to_csv(index=False, float_format="%.7g", lineterminator="\n")
    return f"# fathom {_digest(body)} made with {_versions()}\n{body}"


def _versions() -> str:
    return ", ".join(f"{name} {version(name).split('+')[0]}" for name in MADE_WITH)


def write(table: pd.DataFrame, name: str, root: str = "artifacts") -> None:
    """Write a table in place of the old one, whole or not at all."""
    _replace(place(name, root), text(table))


def read(name: str, root: str = "artifacts") -> pd.DataFrame:
    """A table; raises Refused where it is missing or not what was written."""
    path = place(name, root)
    if not path.exists():
        there = sorted(
            p.relative_to(folder(root)).with_suffix("").as_posix()
            for p in folder(root).rglob("*.csv")
        )
        raise Refused(
            f"{root}/{name}.csv: missing; git checkout or dvc repro makes it where a stage "
            f"writes it; of the tables here, {name} {nearest(name, there)}"
        )
    digest(name, root)
    return parse(path.read_text())


def parse(said: str) -> pd.DataFrame:
    """A table from its text; a key is a word even where its digits look like a number."""
    how: dict[str, Any] = {"comment": "#", "keep_default_na": False, "na_values": [""]}
    return pd.read_csv(io.StringIO(said), dtype={"key": str}, **how)


def digest(name: str, root: str = "artifacts") -> str:
    """The digest in a table's first line, checked against the rest of it."""
    path = place(name, root)
    head, _, body = path.read_text(errors="replace").partition("\n")
    words = head.split()
    if words[:2] != ["#", "fathom"] or len(words) < 3 or words[2] != _digest(body):
        raise Refused(
            f"{root}/{name}.csv: its rows do not match the digest in its first line (edited by "
            f"hand, or cut short); restore it with: git checkout -- {root}/{name}.csv (where git "
            "does not have it, delete it and run dvc repro)"
        )
    return words[2]


def promote(names: list[str], root: str) -> None:
    """Copy tables from another root, such as build/retrained, into the committed ones' place:
    all of them, or none where one is missing or not what was written."""
    for name in names:
        read(name, root)
    for name in names:
        _replace(place(name), place(name, root).read_text())


def discard(names: list[str], root: str) -> None:
    """Remove tables of another root once nothing needs them any more."""
    for name in names:
        place(name, root).unlink(missing_ok=True)


def known(name: str, root: str = "artifacts") -> pd.DataFrame | None:
    """The rows that need not be trained again: those of the table, if there is one made with
    the versions installed here, and those a killed sweep left in its journal."""
    table = place(name, root)
    made_with = table.read_text().partition("\n")[0] if table.exists() else ""
    rows = [read(name, root)] if made_with.endswith(f" made with {_versions()}") else []
    path = _journal(name, root)
    said = path.read_text(errors="replace") if path.exists() else ""
    rows.append(pd.DataFrame([row for line in said.splitlines() if (row := _line(line))]))
    return pd.concat([part for part in rows if len(part)]) if any(map(len, rows)) else None


class Journal:
    """What a sweep leaves on disk while it runs: finished rows, and checkpoints of large
    runs. It belongs to one process at a time; raises Refused where another one holds it, and
    OSError where the table could not be put in its place."""

    def __init__(self, name: str, root: str = "artifacts") -> None:
        check_leave(root)  # what cannot be kept is not worth training
        self._path, self._table = _journal(name, root), place(name, root)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path not in _HELD:
            _HELD[self._path] = _lock(self._path.with_suffix(".lock"), f"{root}/{name}")

    def keep(self, rows: list[dict[str, Any]]) -> None:
        """Add finished rows; they are on disk when this returns."""
        with self._path.open("a+b") as journal:
            if journal.tell() and (journal.seek(-1, os.SEEK_END), journal.read())[1] != b"\n":
                journal.write(b"\n")  # a line that was cut short stays a line of its own
            for row in rows:
                said = json.dumps(row)
                journal.write(f"{_digest(said)} {said}\n".encode())
            journal.flush()
            os.fsync(journal.fileno())

    def checkpoint(self, *identity: str) -> "Checkpoint":
        """The place for what one large run needs to go on."""
        name = f"{self._path.stem}.{_digest(' '.join(identity))}.npz"
        return Checkpoint(self._path.with_name(name))

    def close(self) -> None:
        """Remove it all, the table being written, and what a kill left beside that. The file
        of the lock stays: where it is removed, two may hold one of that name."""
        checkpoints = self._path.parent.glob(f"{self._path.stem}.*.npz")
        for path in [self._path, *checkpoints, *self._table.parent.glob(f".{self._table.name}.*")]:
            path.unlink(missing_ok=True)
        if self._path in _HELD:
            _HELD.pop(self._path).close()


class Checkpoint:
    """Named arrays in one file; nothing in it is ever run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, np.ndarray] | None:
        """The arrays; None where there are none, or what is there cannot be read."""
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, TypeError, EOFError, RuntimeError, BadZipFile):
            return None

    def discard(self) -> None:
        """Remove it, once the run is finished."""
        if self._path.exists():
            self._path.unlink()

    def save(self, arrays: dict[str, np.ndarray]) -> None:
        """Write the arrays in place of those before, whole or not at all."""
        beside = self._path.with_name(f"{self._path.stem}.{os.getpid()}.part.npz")
        try:
            np.savez(beside, allow_pickle=False, **arrays)
            os.replace(beside, self._path)
        finally:
            beside.unlink(missing_ok=True)


_HELD: dict[Path, TextIO] = {}  # an open file keeps its lock until the process ends, however


def _lock(path: Path, name: str) -> TextIO:
    held = path.open("a+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.seek(0)
        who = held.read().strip() or "unknown"
        held.close()
        raise Refused(
            f"{name}: process {who} is working on it; wait until it is done, or stop it "
            f"(kill {who}), and start again: what it finished is kept"
        ) from None
    held.truncate(0)
    held.write(f"{os.getpid()}")
    held.flush()
    return held


def _journal(name: str, root: str) -> Path:
    return folder("build/journal") / root / f"{name}.jsonl"


def _line(line: str) -> dict[str, Any] | None:
    """A journal line; None where it is not what was written."""
    vouched, _, said = line.partition(" ")
    try:
        row = json.loads(said) if vouched == _digest(said) else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("key"), str) else None


def params(name: str = "params.yaml") -> dict[str, Any]:
    """A YAML file of the suite as plain data; raises Refused with the line that is wrong."""
    try:
        said = copy.deepcopy(_parsed((ROOT / name).read_bytes()))
    except OSError:
        raise Refused(f"{name}: missing or unreadable") from None
    except YAMLError as error:
        where = f" line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise Refused(f"{name}{where}: {getattr(error, 'problem', None) or 'not YAML'}") from None
    if not isinstance(said, dict):
        raise Refused(f"{name}: found {said!r}; give a mapping of engines to experiments")
    return said


def save_text(text: str, name: str) -> None:
    """Write a page of the suite, such as CLAIMS.md, whole or not at all."""
    _replace(ROOT / name, text)


def save_texts(texts: Mapping[str, str], root: str) -> None:
    """Write each text as <name>.txt below a root, and remove all others there."""
    places = {ROOT / root / f"{name}.txt": text for name, text in texts.items()}
    for path, text in places.items():
        if not path.exists() or path.read_text() != text:
            _replace(path, text)
    for path in set((ROOT / root).rglob("*.txt")) - set(places):
        path.unlink()


class Drawn(Protocol):
    """A finished figure: its SVG and its alternative text."""

    @property
    def svg(self) -> str: ...
    @property
    def alt(self) -> str: ...


def save_figure(picture: Drawn, name: str, root: str = "figures") -> None:
    """Write a figure as <name>.svg and its alternative text as <name>.txt."""
    _replace(folder(root) / f"{name}.svg", picture.svg)
    _replace(folder(root) / f"{name}.txt", picture.alt + "\n")


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _replace(path: Path, said: str) -> None:
    if path.is_file() and path.read_bytes() == said.encode():
        return  # so that what changes nothing needs no leave to write
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w") as file:
            file.write(said)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
