"""What each stage depends on besides tables: its notebook's code, the modules of fathom which that
imports in the end, and its entry of params.yaml or claims of claims.yaml.

Each of these becomes a short text, so that a stage has one line for them in dvc.yaml, what a cell
printed makes nothing stale, and no list of modules is kept by hand.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from fathom import notebooks, store
from fathom.store import ROOT

LIB = ROOT / "lib"


def texts() -> dict[str, str]:
    """One text for each stage, by name: sweep/tp6_resmlp, tp6/fig10_rate_transfer, ..."""
    said, claims = store.params(), store.params("claims.yaml")
    found = {}
    for name in notebooks.names():
        code = _code(name)
        if "/" not in name:
            entries = said.get(name) or {}  # none of explore, which is no stage
            found |= {f"{name}/{key}": f"{code}{_plain(entry)}" for key, entry in entries.items()}
        elif name.endswith("/claims"):
            found[name] = code + _plain(claims[name.partition("/")[0]])
        else:
            found[name] = f"title {notebooks.title(f'notebooks/{name}.ipynb')}\n{code}"
    found["pages"] = _modules(needed("fathom.pages"))
    return found


def _plain(data: Any) -> str:
    return json.dumps(data, indent=1) + "\n"


def _code(notebook: str) -> str:
    """The digests of a notebook's code cells and of the modules they need."""
    path = notebooks.NOTEBOOKS / f"{notebook}.ipynb"
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    source = "\n".join(cell.source for cell in cells)
    files = frozenset[Path]().union(*(needed(name) for name in imported(source)))
    return f"cells {_digest(source.encode())}\n{_modules(files)}"


def _modules(files: frozenset[Path]) -> str:
    body = b"".join(path.read_bytes() for path in sorted(files))
    return f"modules {_digest(body)} ({len(files)} files)\n"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def imported(source: str) -> set[str]:
    """Every name of fathom that a piece of source imports, as a dotted path."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("fathom")}
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fathom"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def needed(name: str) -> frozenset[Path]:
    """The files of fathom that importing a dotted name loads in the end."""
    reached: set[Path] = set()
    ahead = _files(name)
    while ahead:
        path = ahead.pop()
        reached.add(path)
        ahead |= {one for inner in imported(path.read_text()) for one in _files(inner)} - reached
    return frozenset(reached)


def _files(name: str) -> set[Path]:
    """The files that a dotted name stands for: its module and the packages around it."""
    parts, found = name.split("."), set()
    for i in range(1, len(parts) + 1):
        place = LIB.joinpath(*parts[:i])
        found |= {
            path for path in (place / "__init__.py", place.with_suffix(".py")) if path.exists()
        }
    return found
