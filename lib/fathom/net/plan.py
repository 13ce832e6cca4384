"""How runs are cut into stacks, and what they will take: a function of the runs and of the
memory allowed, never of a clock or of what happens to be free.
"""

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from fathom.net import compiled, probe, scales, workers
from fathom.net.data import CONTEXT, HELD_OUT, task
from fathom.net.models import build
from fathom.net.stack import course, shape, stack
from fathom.net.train import SAVED, cost, on, rows, sessions
from fathom.spec import Machine, Net, Refused, Run

FLIGHT = 5e11  # operations that one stack takes at most, some seconds, where it may be cut
PROCESS = 0.5  # GiB that Python and torch take in every worker
LOOK = 0.1  # seconds of steps that an estimate is made from


def say(sentence: str) -> None:
    """A line for the person who waits."""
    print(sentence, file=sys.stderr, flush=True)


def stacked(
    runs: Sequence[Run], measure: str = "train", machine: Machine | None = None
) -> list[list[Run]]:
    """Runs grouped by shape and cut into stacks that fit into memory; raises Refused where
    a single run does not, or a task has nothing to train on.

    How large a stack is changes no bit. In compiled loops runs follow one another, so a
    stack is what would be lost with a worker. Under autograd it is what stays in a core's
    cache; and where width or rows are no multiple of 16, runs go one by one, as the tail of
    a vector instruction would fall on another run's numbers.
    """
    machine, groups = machine or Machine(), defaultdict(list)
    if measure == "train" and any(run.task == "gaussian" for run in runs):
        raise Refused("task gaussian has no examples to train on; measure it under probe")
    along = measure in scales.ALONG
    for run in sorted(runs, key=lambda run: course(run).key) if along else runs:
        groups[shape(course(run) if along else run)].append(run)
    cut = []
    for group in groups.values():
        stops = len({run.optim.steps for run in group})
        size = _fitting(max(group, key=cost), measure, machine, stops)
        cut += [group[i : i + size] for i in range(0, len(group), size)]
    return cut


def allowed(machine: Machine) -> float:
    """GiB that all workers may take: what is allowed here, or four fifths of the card's."""
    if on(machine.device) == "cuda":
        return 0.8 * torch.cuda.get_device_properties(0).total_memory / 2**30
    return machine.memory_gib


def crew(run: Run, measure: str, machine: Machine) -> int:
    """How many workers may hold a run of this shape at once; raises Refused for none."""
    alone = memory([run], measure) / 2**30 + PROCESS
    there = 1 if machine.scheduler else workers.count(machine)  # a cluster's, for each worker
    many = min(there, int(allowed(machine) / alone))
    if many < 1:
        raise Refused(
            f"width {run.net.width}, depth {run.net.depth}: one run needs {alone:.1f} GiB and "
            f"{allowed(machine):g} are allowed; give a larger --memory-gib, or a smaller width, "
            "depth or batch"
        )
    return many


def _fitting(run: Run, measure: str, machine: Machine, stops: int) -> int:
    """The size of a stack, every network of which is there with its `stops` numbers of steps;
    says so where memory is what decides."""
    share = (allowed(machine) / crew(run, measure, machine) - PROCESS) * 2**30
    alone, size = memory([run], measure), stops * _size(run, measure, machine)
    fits = int(1 + max(0.0, share - alone) // (memory([run, run], measure) - alone))
    if fits < size:
        say(
            f"width {run.net.width}, depth {run.net.depth}: stacks of {fits} instead of {size}, "
            f"to stay within {allowed(machine):g} GiB"
        )
    return size if fits >= size else (fits - fits % stops) or fits


def _size(run: Run, measure: str, machine: Machine) -> int:
    net = run.net
    if cost(run) > SAVED:
        return 1
    if on(machine.device) == "cuda":
        return 256
    if measure == "train" and compiled.covers(run):
        return int(min(32, max(1, FLIGHT // cost(run))))
    if net.width % 16 or rows(run) % 16:
        return 1
    cached = min(32, 2**16 // net.width**2, 2**11 // rows(run))
    return max(cached, 4 if net.width <= 256 else 1)


def memory(runs: Sequence[Run], measure: str = "train") -> int:
    """Bytes that a stack takes at its peak, roughly, without Python and torch."""
    first = runs[0]
    order = 24 * first.optim.batch * first.optim.steps  # which examples each step sees
    return order + _arrays(runs, measure)


def _arrays(runs: Sequence[Run], measure: str) -> int:
    """Bytes of weights, activations and what they are trained with."""
    first, about = runs[0], task(runs[0].task)
    model = build(first.net, about.inputs, about.outputs)
    weights = sum(layer.fan_in * layer.fan_out for layer in model.layers)
    units = len(model.layers) * first.net.width
    if first.net.family == "lm":  # of what is held out no gradient is taken
        held_out = 8 * max(layer.fan_out for layer in model.layers) * HELD_OUT * CONTEXT
        return 4 * len(runs) * (6 * weights + 8 * units * rows(first) + held_out)
    if measure in ("coordinates", "diversity", "linearisation"):  # trained, and looked at twice
        return _arrays(runs, "train") + 4 * len(runs) * (weights + 8 * units * scales.EXAMPLES)
    if measure == "layer_sizes":  # weights and their gradients, whole
        return 4 * len(runs) * (3 * weights + 8 * units * first.optim.batch)
    if measure != "train":
        return 5 * len(runs) * (weights + 20 * units * first.optim.batch)
    if compiled.covers(first):
        return 4 * ((len(runs) + 5) * weights + 3 * units * (first.optim.batch + HELD_OUT))
    return 4 * len(runs) * (6 * weights + 8 * units * max(first.optim.batch, HELD_OUT))


def estimate(
    runs: Sequence[Run], measure: str = "train", machine: Machine | None = None
) -> pd.DataFrame:
    """What the runs would take here, from a few measured steps of every shape.

    One row per size: task, width, depth, batch, steps, runs, core_seconds, the GiB that one
    worker holds at its peak, and how many may work at once."""
    machine = machine or Machine()
    groups: dict[object, list[list[Run]]] = defaultdict(list)
    for one in stacked(runs, measure, machine):  # rules cost nothing
        groups[shape(one[0].model_copy(update={"rules": ""}))].append(one)
    _seconds(runs[:1], measure)  # once for nothing, as the first time loads or compiles
    lines = []
    for stacks in groups.values():
        first, count = stacks[0][0], sum(map(len, stacks))
        some = stacks[0][: _few(stacks[0], measure)]
        seconds = _seconds(some, measure) * count / len(some)
        sizes = {name: first.row()[name] for name in ("task", "width", "depth", "batch", "steps")}
        held = PROCESS + memory(stacks[0], measure) / 2**30
        at_once = crew(first, measure, machine)
        lines.append({**sizes, "runs": count, "core_seconds": seconds, "gib": held})
        lines[-1]["workers"] = at_once
    found = pd.DataFrame(lines)
    sizes = ["task", "width", "depth", "batch", "steps"]
    how = {"runs": "sum", "core_seconds": "sum", "gib": "max", "workers": "min"}
    return found.groupby(sizes, sort=False, as_index=False).agg(how)


def swept(runs: Sequence[Run]) -> list[str]:
    """The grid of runs, a line per field that is not at its default: its name and its values,
    or first to last where they are evenly spaced."""
    table = pd.DataFrame([run.row() for run in runs])
    plain = {**Net(family="mlp", width=1, depth=1).model_dump(), "schedule": "constant"}
    plain |= {"warmup": 0, "decay": 0.0, "log2_lr_ends": None}
    lines = []
    for name in table:
        values = table[name].dropna().unique().tolist()
        if values and (name in ("width", "depth", "family") or values != [plain.get(str(name))]):
            lines.append(f"{name}: {_listed(values)}")
    return lines


def _listed(values: list[Any]) -> str:
    """Values in words; four or more numbers at even steps by their ends and the step."""
    if any(isinstance(value, (str, bool)) for value in values):
        return ", ".join(map(str, values))
    values = sorted(values)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(values)}
    if len(values) > 3 and len(steps) == 1:
        step, by = steps.pop(), ""
        by = f" by {step:g}" if step != 1 else ""
        return f"{values[0]:g} to {values[-1]:g}{by}"
    return ", ".join(f"{value:g}" for value in values)


def forecast(found: pd.DataFrame, machine: Machine) -> str:
    """An estimate as a sentence."""
    if found.empty:
        return "nothing is left to do"
    if machine.scheduler:
        seconds = float(found["core_seconds"].sum())
        return f"about {span(seconds)} of one core's time in all, shared by the cluster"
    seconds = float((found["core_seconds"] / found["workers"]).sum())
    gib, count = float((found["gib"] * found["workers"]).max()), int(found["workers"].max())
    return f"about {span(seconds)} and {gib:.1f} GiB on {count} workers, from a few measured steps"


def span(seconds: float) -> str:
    """A time in words."""
    return f"{seconds / 60:.1f} minutes" if seconds > 90 else f"{seconds:.1f} seconds"


def _few(runs: list[Run], measure: str) -> int:
    """How many runs of a stack tell what each of them takes: side by side they take less than
    alone, one after the other they do not."""
    if measure == "train" and not compiled.covers(runs[0]):
        return len(runs)
    return len({run.optim.steps for run in runs})


def _seconds(runs: Sequence[Run], measure: str) -> float:
    """Seconds a stack takes on one thread, from its start and some of its steps."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    if measure != "train":
        probe.measured(runs, measure)
        return time.perf_counter() - start
    nets, asked = stack(runs), runs[0].optim.steps
    session = next(sessions(nets, "cpu"))
    begun = time.perf_counter() - start
    done, steps, step = 0, 1, 0.0
    while done < asked and step * done < LOOK:  # the last look counts, the first are cold
        start, end = time.perf_counter(), min(done + steps, asked)
        session.learn(done, end)
        step = (time.perf_counter() - start) / (end - done)
        done, steps = end, 4 * steps
    # what is held out is seen once, forward only: a third of a step's work an example
    held_out = HELD_OUT / runs[0].optim.batch / 3
    many = len(runs) if compiled.covers(runs[0]) else 1
    return begun + many * step * (asked + held_out)
