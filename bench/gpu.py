"""python bench/gpu.py OUTFILE: what a card computes, how fast, and in how much memory.

Trains a network of every family on the card and on the processor and compares the losses; times
the step of a stack, as the planner cuts it, beside a user's own loop on the same card; and writes
one table, anew after each part. With --device cpu the sizes are tiny and the numbers mean
nothing: it shows that the script runs.
"""

import argparse
import gc
import itertools
import math
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import loop
import numpy as np
import pandas as pd
import rates
import torch
from fathom import store
from fathom.networks.stack import stack
from fathom.spec import Base, Machine, Net, Optim, Run
from fathom.sweeps.plan import memory, stacked
from fathom.training.autograd import Session
from fathom.training.train import denormals_flushed, rows

STEPS, SAME = 100, 5  # of a run; of those compared before anything is timed
Row = dict[str, Any]


class Sizes(NamedTuple):
    """Networks that are compared: width, depth, how many in a stack, steps; and that are timed:
    width, depth; in so many rounds of so many steps."""

    compared: list[tuple[int, int, int, int]]
    timed: list[tuple[int, int]]
    rounds: int
    steps: int


ON_A_CARD = Sizes([(64, 4, 16, 20), (1024, 2, 4, 5)], [(64, 16), (1024, 16)], 5, 20)
TINY = Sizes([(32, 2, 2, 3)], [(32, 2)], 2, 2)


def networks(width: int, depth: int) -> list[Run]:
    """One run of every kind, at its base size, where all layers share one rate."""
    block: dict[str, Any] = {"center": True, "gain": depth**-0.5}
    kinds: list[dict[str, Any]] = [
        {"family": "mlp", "init_gain": 2.0},
        {"family": "resmlp", **block},
        {"family": "resmlp", "block_depth": 2, **block},
        {"family": "resmlp", "norm": "layer", **block},
        {"family": "linearised", "block_depth": 2, **block},
        {"family": "lm", "phi": "gelu", "gain": depth**-0.5},
        {"family": "vit", "phi": "gelu", "gain": depth**-0.5},
        {"family": "cnn", "init_gain": 2.0},
        {"family": "resconv", "stages": 2, "order": "pre", "gain": depth**-0.5},
    ]
    return [_run(Net(width=width, depth=depth, **kind)) for kind in kinds]


def _run(net: Net) -> Run:
    chain, text = net.family in ("mlp", "cnn"), net.family == "lm"
    images = net.family in ("vit", "cnn", "resconv")
    kind, batch = "sgd" if chain else "adam", 4 if text else 64
    log2_lr = -4.0 - round(math.log2(net.width))
    return Run(
        net=net,
        rules="sp" if chain else "depth_mup",
        base=Base(width=net.width, depth=net.depth),
        optim=Optim(kind=kind, log2_lr=log2_lr, batch=batch, steps=STEPS),
        task="text" if text else "fashion14" if images else "digits_random",
        seed=0,
    )


def many(run: Run, count: int) -> list[Run]:
    """The run as a sweep has it: up to 16 seeds at 16 rates, of which it has the largest."""
    found = []
    for seed, halves in itertools.islice(itertools.product(range(16), range(16)), count):
        optim = run.optim.model_copy(update={"log2_lr": run.optim.log2_lr - halves / 2})
        found.append(run.model_copy(update={"seed": seed, "optim": optim}))
    return found


def name(device: str) -> str:
    """What a table calls a device."""
    return torch.cuda.get_device_name(0) if device == "cuda" else "cpu"


def row(
    device: str, run: Run, count: int, check: str, values: Sequence[float] | np.ndarray, unit: str
) -> Row:
    """A row of the table: the median of the values, the least and the most, three digits each."""
    net = run.net
    found: Row = {"device": name(device), "family": net.family, "block_depth": net.block_depth}
    found |= {"norm": net.norm, "width": net.width, "depth": net.depth, "batch": run.optim.batch}
    found |= {"stack": count, "check": check}
    for column, of in (("value", np.median), ("low", np.min), ("high", np.max)):
        found[column] = float(f"{of(values):.3g}")
    return found | {"unit": unit}


def compared(device: str, run: Run, count: int, steps: int) -> Iterator[Row]:
    """Losses on the device beside the processor's, and whether bits depend on how it trains."""
    told, runs = partial(row, device, run, count), many(run, count)
    here, there = (_losses(runs, steps, where) for where in ("cpu", device))
    difference = np.abs(there - here) / np.abs(here)
    yield told("difference_first", [difference[:, 0].max()], "relative")
    yield told("difference", [difference.max()], "relative")
    alone = _losses(runs[:1], steps, device)
    yield told("alone_difference", [np.max(np.abs(alone - there[:1]) / there[:1])], "relative")
    others = {"alone": (alone, there[:1]), "again": (_losses(runs, steps, device), there)}
    if device == "cuda":
        others["unrecorded"] = (_losses(runs, steps, device, recorded=False), there)
    for kind, (one, other) in others.items():
        yield told(f"{kind}_same_bits", [np.array_equal(one, other)], "1 = yes")


def _losses(runs: list[Run], steps: int, device: str, recorded: bool = True) -> np.ndarray:
    """The losses of all steps, then the held-out one, shape (runs, steps + 1); by autograd."""
    session = Session(stack(runs), device)
    if not recorded:
        session.replay = None
    return np.c_[session.learn(0, steps), session.held_out()]


def timed(device: str, run: Run, count: int, rounds: int, steps: int) -> Iterator[Row]:
    """A stack's step beside the loop's, a network's share of it in milliseconds; what of the
    device's matrix rate that is; what of its memory."""
    told = partial(row, device, run, count)
    each = yield from _steps(device, run, count, rounds, steps)
    _free(device)
    rate, done = _products(device, run, count, rounds), rates.operations(run) / each
    kind = "float32" if torch.get_float32_matmul_precision() == "highest" else "TF32"
    yield told("step_rate", done / 1e12, f"TFLOP/s, {kind}")
    yield told("product_rate", rate / 1e12, f"TFLOP/s, {kind}")
    yield told("share", done / np.median(rate), "of product_rate")


def _steps(
    device: str, run: Run, count: int, rounds: int, steps: int
) -> Generator[Row, None, np.ndarray]:
    """The rows of steps and of memory; seconds of a stack's step per network, by rounds."""
    told, runs = partial(row, device, run, count), many(run, count)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    nets = stack(runs)
    start = [weight[0].clone() for weight in nets.weights]
    session = Session(nets, device)
    yield told("start", [time.perf_counter() - began], "s")
    del nets
    expected = session.learn(0, SAME)[0]
    session.held_out()
    if device == "cuda":
        planned = memory(runs, machine=Machine(device=device))
        yield told("memory_planned", [planned / 2**30], "GiB")
        yield told("memory_allocated", [torch.cuda.max_memory_allocated() / 2**30], "GiB")
        yield told("memory_reserved", [torch.cuda.max_memory_reserved() / 2**30], "GiB")
    step = loop.prepared(run, start, device)
    found = [float(step(number)) for number in range(SAME)]
    if not np.allclose(found, expected, atol=1e-3):
        raise ValueError(f"the loop does not train Fathom's network: {found}, {expected}")
    numbers = range(SAME, SAME + steps)
    works = {
        "loop_step": (lambda: list(map(step, numbers)), 1),
        "step": (lambda: session.learn(SAME, SAME + steps), count),
    }
    took: dict[str, list[float]] = {kind: [] for kind in works}
    for _ in range(rounds):
        for kind, (work, shared) in works.items():
            took[kind].append(_seconds(device, work) / steps / shared)
    times = {kind: np.array(each) for kind, each in took.items()}
    for kind, each in times.items():
        yield told(kind, 1e3 * each, "ms")
    yield told("loop_over_step", times["loop_step"] / times["step"], "ratio")
    if device == "cuda":
        session.replay = None  # and with it the memory that its recording holds
        _free(device)
        session.learn(0, 2)
        slow = [_seconds(device, lambda: session.learn(2, 7)) / 5 / count for _ in range(rounds)]
        yield told("unrecorded_step", 1e3 * np.array(slow), "ms")
    return times["step"]


def _products(device: str, run: Run, count: int, rounds: int) -> np.ndarray:
    """Operations a second, in every round, of the products that a step makes of its square
    matrices, forward and backward, and of nothing else."""
    width, many_rows = run.net.width, rows(run)
    x, g = (torch.randn(count, many_rows, width, device=device) for _ in range(2))
    weights = [torch.randn(count, width, width, device=device) for _ in range(run.net.depth)]

    def once() -> None:
        for weight in weights:
            torch.bmm(x, weight)
            torch.bmm(g, weight.mT)
            torch.bmm(x.mT, g)

    once()
    done = 6 * count * many_rows * width**2 * len(weights)
    return np.array([done / _seconds(device, once) for _ in range(rounds)])


def _seconds(device: str, work: Callable[[], object]) -> float:
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def fitting(device: str, run: Run, rounds: int, steps: int) -> Iterator[Row]:
    """`timed` for a stack as the planner cuts it, or the half of one that memory does not hold."""
    count = len(stacked(many(run, 256), machine=Machine(device=device))[0])
    while count > 1:
        try:
            yield from timed(device, run, count, rounds, steps)
            return
        except torch.OutOfMemoryError:
            yield row(device, run, count, "out_of_memory", [1], "1 = yes")
        count //= 2
        _free(device)


def parts(device: str) -> Iterator[Iterator[Row]]:
    """What is measured, the quick first."""
    size = ON_A_CARD if device == "cuda" else TINY
    for width, depth, count, steps in size.compared:
        yield from (compared(device, run, count, steps) for run in networks(width, depth))
    for width, depth in size.timed:
        for run in networks(width, depth):
            yield fitting(device, run, size.rounds, size.steps)
            yield timed(device, run, 1, size.rounds, size.steps)


def main() -> None:
    parser = argparse.ArgumentParser("python bench/gpu.py", description=__doc__)
    parser.add_argument("outfile", type=Path, help="the table, such as artifacts/bench/gpu.csv")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    asked = parser.parse_args()
    device = asked.device
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no card here; --device cpu shows on the processor that this runs")
    asked.outfile.parent.mkdir(parents=True, exist_ok=True)
    with denormals_flushed():
        failed = measure(device, asked.outfile)
    if failed:
        raise SystemExit(f"bench: {failed} parts failed; each says why above")


def measure(device: str, outfile: Path) -> int:
    """Measure part after part, and write the table after each; how many parts failed."""
    found: list[Row] = []
    failed, start = 0, time.perf_counter()
    for part in parts(device):
        before = len(found)
        try:
            for each in part:
                found.append(each)
        except Exception:  # the rest is measured all the same
            traceback.print_exc()
            failed += 1
        _free(device)
        for each in found[before : before + 1]:
            kind = [str(word) for word in list(each.values())[1:8]]
            values = [f"{one['check']} {one['value']:g}" for one in found[before:]]
            seconds = f"{time.perf_counter() - start:.0f} s"
            print(f"{seconds}: {' '.join(kind)}: {', '.join(values)}", flush=True)
        if found:
            outfile.write_text(store.text(pd.DataFrame(found)))
    return failed


if __name__ == "__main__":
    main()
