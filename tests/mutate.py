"""Remove load-bearing factors one by one, and see that the tests notice each.

Run by `make mutate`: copies the suite, spoils one line of the copy, runs the tests that
ought to fail, and fails itself where they pass.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[1]


def passes(tests: str, copy: Path) -> bool:
    """True where a file of tests passes in the copy."""
    env = {**os.environ, "PYTHONPATH": str(copy / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["-m", "pytest", "-p", "no:nbval", "-p", "no:cacheprovider", "-qx"]
    done = subprocess.run(
        [sys.executable, *words, f"tests/test_{tests}.py"],
        cwd=copy,
        env=env,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def survives(mutation: Mutation, copy: Path) -> bool:
    """True where the tests pass although the factor is gone."""
    path = copy / "lib" / "fathom" / mutation.path
    text, times = path.read_text(), path.stat()
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.path}: {mutation.old!r} is there {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new))
    alive = passes(mutation.tests, copy)
    path.write_text(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return alive


def main() -> int:
    """Try every mutation; the exit code is the number of survivors."""
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "fathom"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "build"))
        for tests in dict.fromkeys(mutation.tests for mutation in MUTATIONS):
            if not passes(tests, copy):
                sys.exit(f"tests/test_{tests}.py fails before anything is removed")
        for mutation in MUTATIONS:
            alive = survives(mutation, copy)
            survivors += alive
            print(f"{'SURVIVED' if alive else 'caught'}: {mutation.what}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
