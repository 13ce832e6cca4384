"""The command ./fathom: it finds a Python that has this folder's fathom, or says what to type."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fathom.store import ROOT

ECHO = """#!/bin/sh
[ "$1" = -c ] && exit {code}
echo {name} "$$" "$@"
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with the command, where nothing else is on the path but the shell's own."""
    folder = tmp_path / "a clone of fathom"
    (folder / "lib").mkdir(parents=True)
    shutil.copy(ROOT / "fathom", folder)
    shutil.copytree(ROOT / "lib" / "fathom", folder / "lib" / "fathom")
    (tmp_path / "bin").mkdir()
    for name in ("sh", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    return folder


def python(path: Path, name: str, code: int = 0) -> None:
    """A stand-in that says how it was called; `code` is how its check for fathom ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ECHO.format(name=name, code=code))
    path.chmod(0o755)


def call(suite: Path, *words: str, cwd: Path | None = None, **env: str) -> tuple[int, str, int]:
    """How the command ends, what it says on both streams, and its process."""
    started = subprocess.Popen(
        [suite / "fathom", *words],
        cwd=cwd or suite,
        env={"PATH": str(suite.parent / "bin"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = started.communicate()
    return started.returncode, said, started.pid


def test_the_folders_own_environment_comes_first_and_takes_over_the_process(suite: Path) -> None:
    python(suite / ".venv/bin/python", "own")
    python(suite.parent / "bin/python", "active")
    code, said, process = call(suite, "figures", "two words", cwd=suite.parent)
    assert (code, said) == (0, f"own {process} -m fathom figures two words\n")


@pytest.mark.parametrize("name", ["python", "python3"])
@pytest.mark.parametrize("broken", [False, True])
def test_else_the_active_one_that_has_it(suite: Path, name: str, broken: bool) -> None:
    if broken:
        python(suite / ".venv/bin/python", "own", code=1)
    if name == "python3":
        python(suite.parent / "bin/python", "old", code=1)
    python(suite.parent / "bin" / name, name)
    code, said, process = call(suite, "plan")
    assert (code, said) == (0, f"{name} {process} -m fathom plan\n")


def test_else_it_says_what_to_type(suite: Path) -> None:
    code, said, _ = call(suite, "plan")
    assert code == 2 and said.count("\n") == 1 and said.startswith("fathom: no Python here")
    assert "make repro" in said and "conda activate fathom" in said


def test_a_python_that_has_another_clone_is_not_taken(suite: Path) -> None:
    real = suite.parent / "bin" / "python"
    real.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    real.chmod(0o755)
    (suite.parent / "fathom").mkdir()  # importable from there, and empty
    for there in ({}, {"PYTHONPATH": str(ROOT / "lib")}):
        code, said, _ = call(suite, "--help", cwd=suite.parent, **there)
        assert code == 2 and "no Python here" in said
    code, said, _ = call(suite, "--help", cwd=suite.parent, PYTHONPATH=str(suite / "lib"))
    assert code == 0 and "FATHOM_BUILD" in said


def test_it_is_for_everyone_to_call() -> None:
    assert os.access(ROOT / "fathom", os.X_OK)
    assert len((ROOT / "fathom").read_text().splitlines()) < 20
