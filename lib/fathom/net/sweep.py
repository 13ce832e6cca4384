"""Many runs become one table: what is known is reused, the rest is trained side by side.

Runs of one shape are cut into stacks, the stacks go to worker processes (one thread
each), and every finished stack is handed to `keep` before the next is waited for. The
table does not depend on workers, order or what was known.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pandas as pd
import psutil
import torch
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from tqdm import tqdm

from fathom.net import probe
from fathom.net.data import task
from fathom.net.models import build
from fathom.net.train import numerics, shape, summary, train
from fathom.spec import Refused, Run

Row = dict[str, Any]


def sweep(
    runs: Sequence[Run],
    *,
    measure: str = "train",
    known: pd.DataFrame | None = None,
    keep: Callable[[list[Row]], None] = lambda rows: None,
    workers: int | None = None,
) -> pd.DataFrame:
    """The table of all runs, one row each: the run's columns, what was measured, the
    versions of the numerics and the run's key.

    A row of `known` is reused where key and numerics are unchanged. Raises Refused where
    the largest stack would not fit into memory, or a task has nothing to train on.
    """
    if measure == "train" and any(run.task == "gaussian" for run in runs):
        raise Refused("task gaussian has no examples to train on; measure it under probe")
    rows = {row["key"]: row for row in reusable(runs, measure, known)}
    missing = [run for run in runs if run.key not in rows]
    stacks = sorted(stacked(missing), key=lambda one: -sum(map(cost, one)))
    workers = max(1, min(workers or cpu_count(), len(stacks)))
    _check_memory(stacks, workers)
    costs = {run.key: cost(run) for run in missing}
    bar = tqdm(
        total=sum(costs.values()),
        desc=f"{len(missing)} runs to do, {len(rows)} known",
        bar_format="{desc}: {percentage:3.0f}% [{elapsed}, {remaining} left{postfix}]",
        mininterval=1,
        disable=not missing,
    )
    jobs = (delayed(work)(one, measure) for one in stacks)
    with bar:
        finished = Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
        for done in cast(Iterator[list[Row]], finished):
            keep(done)
            rows |= {row["key"]: row for row in done}
            lost = sum(_diverged(row) for row in rows.values())
            bar.set_postfix_str(f"{len(rows)} of {len(runs)} done, {lost} diverged", refresh=False)
            bar.update(sum(costs[row["key"]] for row in done))
    get_reusable_executor().shutdown(wait=True)
    return pd.DataFrame([rows[run.key] for run in runs])


def work(runs: Sequence[Run], measure: str) -> list[Row]:
    """The rows of one stack: what a worker does, on one thread, denormals flushed to zero."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    found = summary(train(runs)) if measure == "train" else probe.one_step(runs, measure)
    return [
        {**run.row(), **values, "numerics": version(run, measure), "key": run.key}
        for run, values in zip(runs, found, strict=True)
    ]


def version(run: Run, measure: str) -> str:
    """What a row's numbers depend on besides the run itself."""
    return numerics(run) if measure == "train" else f"{numerics(run)} {measure} {probe.NUMERICS}"


def reusable(runs: Sequence[Run], measure: str, known: pd.DataFrame | None) -> list[Row]:
    """The rows of `known` that are rows of these runs, with the numerics of today."""
    if known is None or known.empty or not {"key", "numerics"} <= set(known.columns):
        return []
    today = {run.key: version(run, measure) for run in runs}
    rows = cast(list[Row], known.drop_duplicates("key", keep="last").to_dict("records"))
    return [row for row in rows if today.get(row["key"]) == row["numerics"]]


def stacked(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs grouped by shape and cut into stacks.

    A stack's size follows from the entry alone: small enough for a layer's weights and
    moments to stay in a core's cache. Where width or batch is no multiple of 16 the tail of
    a vector instruction would fall on another run's numbers than when alone, so such runs
    are trained one by one.
    """
    groups: dict[object, list[Run]] = defaultdict(list)
    for run in runs:
        groups[shape(run)].append(run)
    cut = []
    for group in groups.values():
        net, optim = group[0].net, group[0].optim
        size = max(1, min(32, 2**16 // net.width**2))
        size = 1 if net.width % 16 or optim.batch % 16 else max(size, 4 if net.width <= 256 else 1)
        cut += [group[i : i + size] for i in range(0, len(group), size)]
    return cut


def cost(run: Run) -> float:
    """What a run costs, in arithmetic operations, roughly: the unit of the progress bar."""
    matrices = run.net.depth * run.net.block_depth + 1
    return float(run.optim.steps * matrices * run.net.width**2 * (6 * run.optim.batch + 60))


def memory(runs: Sequence[Run]) -> int:
    """Bytes that training a stack takes at its peak, roughly."""
    first, about = runs[0], task(runs[0].task)
    model = build(first.net, about.inputs, about.outputs)
    copies = 5 if first.optim.kind == "adam" else 3
    weights = copies * sum(layer.fan_in * layer.fan_out for layer in model.layers)
    return 4 * len(runs) * (weights + 8 * first.optim.batch * first.net.width * len(model.layers))


def _check_memory(stacks: list[list[Run]], workers: int) -> None:
    free = psutil.virtual_memory().available
    for one in stacks:
        if workers * memory(one) > free:
            net = one[0].net
            raise Refused(
                f"width {net.width}, depth {net.depth}: {workers} workers would need "
                f"{workers * memory(one) / 2**30:.0f} GiB and {free / 2**30:.0f} GiB are free; "
                "give a smaller width, depth or batch"
            )


def _diverged(row: Row) -> bool:
    return row.get("loss_mean") == float("inf")


def estimate(runs: Sequence[Run], measure: str = "train") -> pd.DataFrame:
    """What the runs would take here, from a few measured steps of every shape.

    One row per shape: task, width, depth, batch, steps, runs, core_seconds."""
    groups: dict[object, list[list[Run]]] = defaultdict(list)
    for one in stacked(runs):
        groups[shape(one[0])].append(one)
    rows = []
    for stacks in groups.values():
        first, count = stacks[0][0], sum(map(len, stacks))
        seconds = _seconds(stacks[0], measure) * count / len(stacks[0])
        sizes = {name: first.row()[name] for name in ("task", "width", "depth", "batch", "steps")}
        rows.append({**sizes, "runs": count, "core_seconds": seconds})
    return pd.DataFrame(rows)


def _seconds(runs: list[Run], measure: str) -> float:
    """Seconds one stack takes on one thread, from its start and two of its steps."""
    torch.set_num_threads(1)
    if measure != "train":
        start = time.perf_counter()
        probe.one_step(runs, measure)
        return time.perf_counter() - start
    times = []
    for steps in (1, 3):
        start = time.perf_counter()
        train(runs, steps=steps)
        times.append(time.perf_counter() - start)
    step = max(times[1] - times[0], 0.0) / 2
    return times[0] + step * (runs[0].optim.steps - 1)
