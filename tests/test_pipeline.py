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
    """Entries with two seeds and four steps, but where steps are swept; sizes, rates and
    names as they are."""
    if isinstance(said, list):
        return [shrunk(one) for one in said]
    if not isinstance(said, dict):
        return said
    small = {key: shrunk(value) for key, value in said.items()}
    if "seed" in small:
        first = said["seed"]["range"][0]
        small["seed"] = [first, first + 1]
    if isinstance(small.get("steps"), int):
        small["steps"] = min(4 + 2 * (said["steps"] == 60), said["steps"])
    if "warmup" in small:
        small["warmup"] = 1
    return small


def run(clone: Path, *words: str, code: int = 0) -> str:
    env = {**os.environ, "PYTHONPATH": str(clone / "lib"), "DVC_NO_ANALYTICS": "1"}
    env["FATHOM_WORKERS"] = "1"  # starting more takes longer than these trainings
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(words, cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def shrink(clone: Path) -> None:
    """Smoke size: params.yaml, and the two places that name a number of steps."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(clone / "params.yaml")
    small = {engine: shrunk(params[engine]) for engine in ("sweep", "probe", "limit")}
    with (clone / "params.yaml").open("w") as file:
        yaml.dump({**params, **small}, file)
    for path in (clone / "claims.yaml", *(clone / "notebooks" / "depthwise").glob("fig*.ipynb")):
        text = path.read_text()
        for old, new in (("steps: 200", "steps: 4"), ("steps: 60", "steps: 6")):
            text = text.replace(old, new)
        for old, new in (("width = 200, ", "width = 4, "), ("few = 60", "few = 6")):
            text = text.replace(old, new)
        path.write_text(text)


@pytest.mark.slow
def test_from_nothing_to_every_figure(tmp_path: Path) -> None:
    clone = tmp_path / "fathom"
    run(tmp_path, "git", "clone", "-q", str(ROOT), str(clone))
    made = [f"artifacts/{name}" for name in ("sweep", "probe", "limit", "law", "claims")]
    run(clone, "git", "rm", "-rq", *made, "figures")
    shrink(clone)

    run(clone, "dvc", "repro", "-q")
    run(clone, "dvc", "status", "-q")
    drawn = {path.name for path in (clone / "figures").rglob("*.svg")}
    assert drawn == {path.name for path in (ROOT / "figures").rglob("*.svg")}
    assert "up to date" in run(clone, "dvc", "repro")

    table = clone / "artifacts" / "sweep" / "laws_mlp.csv"
    first = table.read_bytes()
    assert "0 known" in run(clone, sys.executable, "-m", "fathom", "retrain", "laws_mlp")
    assert table.read_bytes() == first
    run(clone, "dvc", "status", "-q")
