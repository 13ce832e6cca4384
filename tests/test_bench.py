"""The measurement of speed runs, and measures the same network everywhere."""

import subprocess
import sys
from pathlib import Path

import pytest
from fathom import store
from fathom.store import ROOT


def quick(*words: str) -> None:
    command = [sys.executable, "bench", "--quick", *words]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-2000:]


@pytest.mark.slow
def test_the_bench_runs_at_its_smallest() -> None:
    quick()  # it compares the first losses of all peers itself, and fails where they differ
    steps, sweeps = (store.read(f"bench/{name}", "build/quick") for name in ("step", "sweep"))
    assert len(steps) and len(sweeps)


@pytest.mark.slow
def test_the_bench_of_families_runs_at_its_smallest() -> None:
    quick("--families")
    found = set(store.read("bench/families", "build/quick")["family"])
    assert found == {"resconv", "vit", "lm", "linearised"}


@pytest.mark.slow
def test_the_bench_of_costs_runs_at_its_smallest() -> None:
    quick("--costs")
    found = store.read("bench/costs", "build/quick")
    assert (found["core_minutes"] > 0).all() and (found["runs"] > 0).all()


@pytest.mark.slow
def test_the_bench_of_a_card_runs_on_a_processor_where_a_run_alone_is_the_run_in_a_stack(
    tmp_path: Path,
) -> None:
    # it compares the first losses of Fathom and of the loop itself, and fails where they differ
    out = tmp_path / "there" / "gpu.csv"
    command = [sys.executable, "bench/gpu.py", str(out), "--device", "cpu"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-2000:]
    found = store.parse(out.read_text())
    kinds = found[["family", "block_depth", "norm"]].drop_duplicates()
    assert len(kinds) == 9
    checks = {check: set(rows["value"]) for check, rows in found.groupby("check")}
    assert checks["alone_same_bits"] == checks["again_same_bits"] == {1.0}
    assert checks["difference"] == checks["alone_difference"] == {0.0}
    assert min(checks["loop_over_step"]) > 0
