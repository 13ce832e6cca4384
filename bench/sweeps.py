"""A whole sweep on two cores, start-up and compilation included, and the loop over its grid.

As a script, it is the process that is timed: it trains every n-th run of the sweep and
prints the seconds that `sweep` took.
"""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import loop
import numpy as np
import pandas as pd
import psutil
import torch
import tqdm
from fathom import store
from fathom.spec import Machine, Run, grid
from fathom.sweeps.sweep import sweep
from fathom.training.kernels.blas import kernels

ENTRY = "tp6_resmlp"
CORES = 2
SHARE = 3  # one worker against two is measured on every third run


def chosen(quick: bool) -> list[Run]:
    """The runs of the sweep; the smallest networks alone where it has to be quick."""
    runs = grid(store.params()["sweep"][ENTRY], f"params.yaml sweep.{ENTRY}")
    small = [run for run in runs if run.net.depth == 4 and run.optim.steps == 100]
    return small if quick else runs


def measure(quick: bool) -> pd.DataFrame:
    """A row for the whole sweep by Fathom and by the loop, and one for each number of
    workers on a share of it."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:CORES]))
    try:
        with TemporaryDirectory() as empty:
            compiled = {} if quick else {"NUMBA_CACHE_DIR": empty}
            whole = _process(CORES, 1, quick, compiled)
            order = (2, 1) if quick else (2, 1, 1, 2)
            each = [_process(workers, SHARE, quick, compiled) for workers in order]
        rows = [{"peer": "fathom", "part": "whole", **_summary([whole], "seconds")}]
        rows.append({"peer": "loop", "part": "whole", "estimated": True, **_loop(chosen(quick))})
    finally:
        os.sched_setaffinity(0, cores)
    for workers in (1, 2):
        mine = [one for one in each if one["workers"] == workers]
        rows.append({"peer": "fathom", "part": "share", **_summary(mine, "inside")})
    found = pd.DataFrame(rows).assign(entry=ENTRY, kernels=kernels())
    return found.assign(estimated=found["estimated"].eq(True))


def _process(workers: int, every: int, quick: bool, compiled: dict[str, str]) -> dict[str, Any]:
    """A fresh process that sweeps: its seconds from start to end, those inside `sweep`, and
    the sum over its processes of the most memory each of them held."""
    command = [sys.executable, __file__, json.dumps([workers, every, quick])]
    env = {**os.environ, **compiled}
    start, held = time.perf_counter(), {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        while process.poll() is None:
            held |= _held(process.pid)
            time.sleep(0.1)
        seconds, said = time.perf_counter() - start, process.communicate()[0]
    if process.returncode:
        raise SystemExit("bench: the process that sweeps stopped; it says why above")
    gib = sum(held.values()) / 2**20
    return {**json.loads(said), "workers": workers, "seconds": seconds, "gib": gib}


def _held(pid: int) -> dict[int, int]:
    """The most KiB held so far by a process and by each of those below it."""
    found = {}
    try:
        family = [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]
        for one in family:
            said = Path(f"/proc/{one}/status").read_text()
            found[one] = int(said.partition("VmHWM:")[2].split()[0])
    except (psutil.Error, OSError, IndexError):
        pass  # one of them has just ended
    return found


def _summary(each: list[dict[str, Any]], which: str) -> dict[str, Any]:
    seconds = [one[which] for one in each]
    return {
        "runs": each[0]["runs"],
        "workers": each[0]["workers"],
        "seconds": float(np.median(seconds)),
        "seconds_low": min(seconds),
        "seconds_high": max(seconds),
        "peak_gib": max(one["gib"] for one in each),
    }


def _loop(runs: list[Run]) -> dict[str, Any]:
    """What the loop would take: one run of every size, timed, times how many there are of
    it; shared by the cores as if that cost nothing."""
    torch.set_num_threads(1)
    sizes: dict[object, list[Run]] = defaultdict(list)
    for run in runs:
        sizes[run.task, run.net, run.optim.batch, run.optim.steps].append(run)
    total = 0.0
    for alike in tqdm.tqdm(sizes.values(), "one run of the loop for every size", ncols=100):
        middle = sorted(alike, key=lambda run: run.optim.log2_lr)[len(alike) // 2]
        start = time.perf_counter()
        loop.train(middle, middle.optim.steps)
        total += len(alike) * (time.perf_counter() - start)
    return {"runs": len(runs), "workers": CORES, "seconds": total / CORES}


if __name__ == "__main__":
    workers, every, quick = json.loads(sys.argv[1])
    runs = chosen(quick)[::every]
    begin = time.perf_counter()
    sweep(runs, machine=Machine(workers=workers, device="cpu", bar="text"))
    print(json.dumps({"runs": len(runs), "inside": time.perf_counter() - begin}))
