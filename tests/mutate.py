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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """A factor, where it stands, what it is spoiled to, and which tests must notice."""

    what: str
    path: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation("1/sqrt(L) on the branch", "net/scaling.py", "Power(0, -a), {", "Power(), {", "probe"),
    Mutation(
        "1/N of Adam's hidden rate",
        "net/scaling.py",
        'adam=Power(-1), eps=Power(-1)),\n        "readout"',
        'eps=Power(-1)),\n        "readout"',
        "scaling",
    ),
    Mutation(
        "Adam's factor of depth",
        "net/scaling.py",
        "adam=Power(-1, -g)",
        "adam=Power(-1)",
        "scaling",
    ),
    Mutation(
        "1/N of the read-out",
        "net/scaling.py",
        "Rule(init=Power(-1), sgd=Power(-1)",
        "Rule(sgd=Power(-1)",
        "scaling",
    ),
    Mutation("mean subtraction", "net/layers.py", "h - h.mean(-1, keepdim=True)", "h", "models"),
    Mutation("Adam's bias correction", "net/train.py", "1 - BETA_1 ** (step + 1)", "1.0", "train"),
    Mutation("He's gain", "net/train.py", "else run.net.init_gain)", "else 1.0)", "models"),
    Mutation(
        "the read-out's nonlinearity",
        "net/models/resmlp.py",
        "phi(stream) if pre else stream",
        "stream",
        "models",
    ),
    Mutation(
        "the seed of the batches",
        "net/data.py",
        "default_rng([seed, 0]), len",
        "default_rng([0, 0]), len",
        "train",
    ),
    Mutation(
        "the square of a multiplier", "net/probe.py", "nets.mults[i] ** 2", "nets.mults[i]", "probe"
    ),
    Mutation(
        "stacks of one off the grid of 16",
        "net/sweep.py",
        "net.width % 16 or optim.batch % 16",
        "False",
        "train",
    ),
    Mutation("kappa of the formula", "law/formula.py", "kappa * L", "L", "law"),
    Mutation("95 %", "law/interval.py", "0.975", "0.95", "law"),
    Mutation("the digest of a table", "store.py", "or words[2] != _digest(body)", "", "store"),
]


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
    text = path.read_text()
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.path}: {mutation.old!r} is there {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new))
    alive = passes(mutation.tests, copy)
    path.write_text(text)
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
