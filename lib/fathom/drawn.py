"""Which figures another stage has drawn already, so that their own stage need not draw them.

Imports little, for it answers a stage in a tenth of a second.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from fathom.paths import BUILD, ROOT

NOTE = BUILD / "drawn.json"


def digests(paths: Iterable[str]) -> dict[str, str]:
    """The digest of each path below the repository, as DVC computes it: a file's MD5, or that of
    the list of a folder's files. A path that is not there has none."""
    return {name: one for name in sorted(paths) if (one := _digest(ROOT / name))}


def _digest(path: Path) -> str:
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = [one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
    if not files:
        return ""
    named = sorted((one.relative_to(path).as_posix(), _digest(one)) for one in files)
    listed = json.dumps([{"md5": md5, "relpath": name} for name, md5 in named])
    return hashlib.md5(listed.encode()).hexdigest() + ".dir"


def leave(notes: dict[str, dict[str, str]]) -> None:
    """Record for each figure the digests of what it was drawn from and of what was drawn."""
    NOTE.parent.mkdir(parents=True, exist_ok=True)
    NOTE.write_text(json.dumps(_left() | notes))


def take(figure: str) -> bool:
    """Whether a figure was drawn ahead and nothing has changed since; the record is deleted."""
    notes = _left()
    note = notes.pop(figure, None)
    if note is None:
        return False
    NOTE.write_text(json.dumps(notes))
    return digests(note) == note


def _left() -> dict[str, dict[str, str]]:
    try:
        return json.loads(NOTE.read_text())
    except (OSError, ValueError):
        return {}
