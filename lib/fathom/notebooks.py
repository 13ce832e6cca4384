"""Running a notebook: parameters in, an executed copy in build/, errors as one sentence."""

import errno
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from fathom import in_process
from fathom.spec import Refused, nearest
from fathom.store import ROOT, VARIABLE, folder

NOTEBOOKS = ROOT / "notebooks"
FULL = (
    "the disk is full; free some space, not in build/journal; what is finished is kept, and the "
    "same command goes on from there"
)
NO_LEAVE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
OF_DISK = re.compile(r"\[Errno (\d+)\] ([^:]+)(?:: '(.+?)')?")  # as Python prints an OSError

# papermill cannot read a parameter with = inside its value, and has no need to
logging.getLogger("papermill.translators").setLevel(logging.ERROR)


class Failed(RuntimeError):
    """A notebook that stopped with an error of its own; the message says where to look."""


def names() -> list[str]:
    """All notebooks that can be run, as they are named on the command line."""
    return sorted(
        path.relative_to(NOTEBOOKS).with_suffix("").as_posix()
        for path in NOTEBOOKS.rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    )


def title(path: str) -> str:
    """The finding that a notebook states: its first heading. `path` is below the repository."""
    cells = nbformat.read(ROOT / path, as_version=4).cells
    return next(c.source for c in cells if c.cell_type == "markdown").splitlines()[0].lstrip("# ")


def run(
    notebook: str, given: dict[str, Any], built: str, *, live: bool = True, kernel: bool = False
) -> Path:
    """Execute a notebook with parameters; returns the executed copy, build/<built>.ipynb.

    What trains gets a `kernel`, a process of its own; all else runs in this one. With
    `live`, what a kernel prints is shown. Raises Refused for a notebook or kernel that is not
    there, or whatever a cell refused; Failed for any other error in a cell."""
    source = NOTEBOOKS / f"{notebook}.ipynb"
    if not source.exists():
        raise Refused(f"notebooks/{notebook}.ipynb: {notebook} {nearest(notebook, names())}")
    copy = folder("build") / f"{built}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    _check(source)
    try:
        papermill.execute_notebook(
            str(source),
            str(copy),
            given,
            engine_name=None if kernel else in_process.NAME,
            progress_bar=False,
            cwd=str(ROOT),
            stdout_file=sys.stdout if live else None,
            stderr_file=sys.stderr if live else None,
        )
    except NoSuchKernel as error:
        raise Refused(
            f"notebooks/{notebook}.ipynb: the kernel {error.name} is not installed; "
            "set its kernel to python3"
        ) from None
    except PapermillExecutionError as error:
        if error.ename == "Refused":
            raise Refused(error.evalue) from None
        if error.ename == "LookupError":  # raised by law and claim, which know no Refused
            raise Refused(f"notebooks/{notebook}.ipynb: {error.evalue}") from None
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        said = OF_DISK.match(str(error.evalue))
        of_disk = refusal(OSError(int(said[1]), said[2], said[3])) if said else None
        if of_disk:
            raise of_disk from None
        raise Failed(
            f"notebooks/{notebook}.ipynb: {error.ename}: {error.evalue} "
            f"(the executed notebook is {_named(copy)})"
        ) from None
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # else it reports the cell that was cut short
        raise
    except DeadKernelError:
        raise Failed(
            f"notebooks/{notebook}.ipynb: its kernel was killed, probably out of memory; "
            "what is finished is kept, and the same command goes on from there"
        ) from None
    except Refused:
        raise
    except Exception as error:  # in a cell that ran in this process, or where a copy is written
        of_disk = refusal(error) if isinstance(error, OSError) else None
        if of_disk:
            raise of_disk from None
        if type(error) is LookupError:
            raise Refused(f"notebooks/{notebook}.ipynb: {error}") from None
        raise Failed(
            f"notebooks/{notebook}.ipynb: {type(error).__name__}: {error} "
            f"(the executed notebook is {_named(copy)})"
        ) from None
    return copy


def refusal(error: OSError) -> Refused | None:
    """What is said where a disk is full, or a file cannot be read or written; None for any other
    error."""
    path, build = Path(str(error.filename or "")), folder("build")
    if error.errno in NO_SPACE:
        return Refused(FULL)
    if error.errno not in NO_LEAVE and not build.is_relative_to(path):  # it cannot even be made
        return None
    why = os.strerror(error.errno or 0)
    seen = next(filter(os.path.isdir, path.parents), path)
    if not os.access(seen, os.X_OK) or (os.path.isfile(path) and not os.access(path, os.R_OK)):
        return Refused(
            f"{_named(path)}: cannot be read ({why}); give yourself permission to read it"
        )
    if path.is_relative_to(build) or build.is_relative_to(path):
        way = f"set {VARIABLE} to a folder that can be written, such as /tmp/fathom"
    elif path.is_relative_to(ROOT):
        way = "copy or clone the repository to where it can be, and type the command there"
    else:
        way = "make it a folder that can be written"
    named = _named(path.parent if path.name.startswith(".") else path)  # a file beside its place
    return Refused(f"{named}: cannot be written ({why}); {way}")


def _named(path: Path) -> str:
    """A path as a reader knows it: from the root of the repository, where it is there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _check(source: Path) -> None:
    """Raises Refused where a file is not a notebook."""
    try:
        nbformat.read(source, as_version=4)
    except Exception as error:  # nbformat raises many kinds; all of them mean the same here
        what = str(error).splitlines()[0][:80]
        name = source.relative_to(ROOT)
        raise Refused(
            f"{name}: not readable as a notebook ({what}); restore it with: git checkout -- {name}"
        ) from None


def stamp(source: Path, executed: Path) -> None:
    """Give a notebook's cells tagged keep_output the output they had in its executed copy,
    and no output to any other cell."""
    said, done = nbformat.read(source, as_version=4), nbformat.read(executed, as_version=4)
    printed = {cell["id"]: cell for cell in done.cells if cell.cell_type == "code"}
    for number, cell in enumerate((c for c in said.cells if c.cell_type == "code"), start=1):
        keep = "keep_output" in cell.metadata.get("tags", [])
        cell.execution_count = number if keep else None
        cell.outputs = printed[cell["id"]].outputs if keep else []
    nbformat.write(said, source)
