"""The whole chain at smoke size, in a temporary clone: from an empty artifacts/ to figures."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fathom.store import ROOT
from forked import forked
from ruamel.yaml import YAML

FEWER = {
    30: 3,
    60: 6,
    75: 3,
    100: 5,
    150: 5,
    300: 8,
    400: 6,
    469: 7,
    500: 6,
    600: 9,
    938: 8,
    2345: 10,
    4000: 6,
}  # the rest 4
TASKS: dict[str, str] = dict.fromkeys(("fashion28", "fashion14", "fashion7"), "digits")
TASKS |= {"fashion14_random": "digits_random"}
STEP = ("one_step", "one_sample_step")

SMALL: dict[str, dict[str, int]] = {
    "resconv": {"stages": 1},
    "vit": {"patch": 4},
}  # what goes with digits


def fewer(steps: int) -> int:
    return steps if steps <= 10 else FEWER.get(steps, 4)


def shrunk(said: Any) -> Any:
    """Entries with two seeds, five rates and rules, and a few steps, on digits where the images are
    Fashion-MNIST's, which need not be there; sizes and names as they are."""
    if isinstance(said, list) and said[0] == "digits" and said[1] in TASKS:
        return ["digits_noisy", TASKS[said[1]]]  # beside images that became digits
    if isinstance(said, list):
        return [shrunk(one) for one in said]
    if not isinstance(said, dict):
        return TASKS.get(said, said) if isinstance(said, str) else said
    small = {key: shrunk(value) for key, value in said.items()}
    if isinstance(small.get("seed"), dict):
        first = said["seed"]["range"][0]
        small["seed"] = [first, first + 1]
    if isinstance(small.get("steps"), int):
        small["steps"] = fewer(said["steps"])
    if isinstance(small.get("steps"), list):
        small["steps"] = [fewer(steps) for steps in said["steps"]]
    if isinstance(small.get("log2_lr"), dict):
        first, last, *_ = said["log2_lr"]["range"]
        apart = max(0.5, (last - first) // 4)
        small["log2_lr"] = [r for r in (first + apart * i for i in range(5)) if r <= last]
    if isinstance(said.get("rules"), list):
        small["rules"] = said["rules"][:5]
    small |= SMALL.get(str(said.get("family")), {})
    if said.get("measure") == "sizes":  # the widest networks would take half a minute
        for one in small["runs"].values():
            wide = one["net"]["width"]
            one["net"]["width"] = wide[:2] if isinstance(wide, list) else wide
    if "solve" in said and isinstance(said["cases"], list):  # quadrature takes a quarter minute
        small["cases"] = small["cases"][: 2 if said["solve"] == "kernels" else 4]
    if "gamma_0" in said and said.get("phi") in ("tanh", "softplus") and "task" in said:
        small["sites"] = 2000
    if "measure" in said:
        most = 2 if said["measure"] in STEP else 16
        for one in small["runs"].values() if "net" not in small["runs"] else [small["runs"]]:
            one["optim"]["batch"] = min(one["optim"]["batch"], most)
    if said.get("batch") == 128:  # of batches that are compared, another than 16
        small["batch"] = 48 if said["log2_lr"] == -3 and said["steps"] == 300 else 16
    net, rates = said.get("net"), small.get("optim", {}).get("log2_lr")
    if isinstance(net, dict) and net.get("family") == "resconv" and isinstance(rates, list):
        wide = net["width"] in (32, [8, 32])  # these take the longest
        small["optim"]["log2_lr"] = rates[1:4] if wide and len(rates) > 3 else rates
    if said.get("batch") == 16 and said.get("warmup"):  # of text, long
        small["batch"] = 4
    optim = said.get("optim")
    if said.get("task") == "digits" and isinstance(optim, dict) and optim.get("batch") == 128:
        small["task"] = "digits_noisy"  # beside images that became digits
    if isinstance(said.get("warmup"), int):
        small["warmup"] = min(said["warmup"], 1)
    if isinstance(said.get("warmup"), list):
        small["warmup"] = [min(steps, 1) for steps in said["warmup"]]
    return small


def environment(clone: Path) -> dict[str, str]:
    env = {**os.environ, "PYTHONPATH": str(clone / "lib"), "DVC_NO_ANALYTICS": "1"}
    env["FATHOM_WORKERS"] = "1"  # starting more takes longer than these trainings
    return env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}


def run(clone: Path, *words: str, code: int = 0) -> str:
    env = environment(clone)
    done = subprocess.run(words, cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def shrink(clone: Path) -> None:
    """Smoke size: params.yaml, the places that name a number of steps or the images, and how many
    examples are held out, which would take most of the time."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(clone / "params.yaml")
    small = {engine: shrunk(params[engine]) for engine in ("sweep", "probe", "limit", "law")}
    with (clone / "params.yaml").open("w") as file:
        yaml.dump({**params, **small}, file)
    tasks = clone / "lib/fathom/networks/tasks.py"
    tasks.write_text(tasks.read_text().replace("HELD_OUT = 288\n", "HELD_OUT = 48\n"))
    commands = clone / "lib/fathom/commands.py"  # a kernel of its own takes three seconds to start
    said, kernel = commands.read_text(), "kernel=kind in TRAINS"
    assert kernel in said
    commands.write_text(said.replace(kernel, 'kernel=name in ("laws_mlp", "tp6_blocks")'))
    pages = (clone / "notebooks").glob("*/*.ipynb")
    for path in (clone / "claims.yaml", clone / "lib/fathom/law/advice.py", *pages):
        text = path.read_text().replace("{task: digits}", "{task: digits_noisy}")
        text = text.replace("fashion14_random", "digits_random")
        text = re.sub(r"task: fashion\d+", "task: digits", text)
        text = re.sub(r'(task\\?": \\?")digits(\\?")', r"\1digits_noisy\2", text)
        text = re.sub(r'(task\\?": \\?")fashion\d+', r"\1digits", text)
        named = r'((?:steps|epochs?)(?:\\?")?: |width = |few = |depths = )(\d+)\b'
        text = re.sub(named, lambda found: f"{found[1]}{fewer(int(found[2]))}", text)
        text = text.replace("{30: 0.35, 100: 0.65, 300: 1.0}", "{3: 0.35, 5: 0.65, 8: 1.0}")
        path.write_text(text)


@pytest.mark.slow
def test_from_nothing_to_every_figure(tmp_path: Path) -> None:
    clone = tmp_path / "fathom"
    run(tmp_path, "git", "clone", "-q", str(ROOT), str(clone))
    made = [f"artifacts/{name}" for name in ("sweep", "probe", "limit", "law", "claims")]
    run(clone, "git", "rm", "-rq", *made, "figures")
    shrink(clone)

    with forked(clone, environment(clone)):
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
