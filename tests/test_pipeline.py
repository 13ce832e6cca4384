"""The whole chain at smoke size, in a temporary clone: from an empty artifacts/ to figures."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fathom.store import ROOT
from ruamel.yaml import YAML


def shrunk(said: Any) -> Any:
    """Entries with two seeds and four steps; sizes, rates and names as they are."""
    if isinstance(said, list):
        return [shrunk(one) for one in said]
    if not isinstance(said, dict):
        return said
    small = {key: shrunk(value) for key, value in said.items()}
    if "seed" in small:
        first = said["seed"]["range"][0]
        small["seed"] = [first, first + 1]
    if "steps" in small:
        small["steps"] = min(4 + 2 * (said["steps"] == 60), said["steps"])
    return small


def run(clone: Path, *words: str, code: int = 0) -> str:
    env = {**os.environ, "PYTHONPATH": str(clone / "lib"), "DVC_NO_ANALYTICS": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(words, cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_from_nothing_to_every_figure(tmp_path: Path) -> None:
    clone = tmp_path / "fathom"
    run(tmp_path, "git", "clone", "-q", str(ROOT), str(clone))
    for name in (
        "artifacts/sweep",
        "artifacts/probe",
        "artifacts/law",
        "artifacts/claims",
        "figures",
    ):
        run(clone, "git", "rm", "-rq", name)
    run(clone, "rm", "-rf", "build")
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(clone / "params.yaml")
    given = {200: 4, 60: 6}
    with (clone / "params.yaml").open("w") as file:
        yaml.dump(
            {**params, "sweep": shrunk(params["sweep"]), "probe": shrunk(params["probe"])}, file
        )
    for name in (
        "claims.yaml",
        "notebooks/depthwise/fig01_rate_transfer.ipynb",
        "notebooks/depthwise/figB2_standard.ipynb",
    ):
        text = (clone / name).read_text()
        for steps, few in given.items():
            text = text.replace(f"steps: {steps}", f"steps: {few}").replace(
                f"steps, metric = {steps}", f"steps, metric = {few}"
            )
        (clone / name).write_text(text)

    run(clone, "dvc", "repro", "-q")
    run(clone, "dvc", "status", "-q")
    assert len(list((clone / "figures").rglob("*.svg"))) == len(
        list((ROOT / "figures").rglob("*.svg"))
    )
    assert "up to date" in run(clone, "dvc", "repro")

    first = (clone / "artifacts" / "sweep" / "laws_mlp.csv").read_bytes()
    retrained = run(clone, sys.executable, "-m", "fathom", "retrain", "laws_mlp")
    assert "0 known" in retrained
    assert (clone / "artifacts" / "sweep" / "laws_mlp.csv").read_bytes() == first
    run(clone, "dvc", "status", "-q")
