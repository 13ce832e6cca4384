"""The measurement of speed runs, and measures the same network everywhere."""

import subprocess
import sys

import pytest
from fathom import store
from fathom.store import ROOT


@pytest.mark.slow
def test_the_bench_runs_at_its_smallest() -> None:
    # it compares the first losses of all peers itself, and fails where they differ
    said = subprocess.run(
        [sys.executable, "bench", "--quick"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-2000:]
    steps, sweeps = (store.read(f"bench/{name}", "build/quick") for name in ("step", "sweep"))
    assert len(steps) and len(sweeps)
