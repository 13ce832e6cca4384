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
import tqdm

from fathom import measurement
from fathom.measurement.observe import BY_STEPS, EXAMPLES, trainings
from fathom.networks.families import build
from fathom.networks.stack import shape, stack, truncated
from fathom.networks.tasks import CONTEXT, PIECE, task
from fathom.spec import (
    COLUMNS,
    DEFAULTS,
    LATER,
    UNTRAINED,
    Machine,
    Net,
    Refused,
    Run,
    check_measure,
)
from fathom.sweeps import workers
from fathom.training import compiled
from fathom.training.compiled import TRANSFORMERS
from fathom.training.train import IMAGES, SAVED, cost, denormals_flushed, on, pace, rows, sessions

FLIGHT = 5e11  # operations that one stack takes at most, some seconds, where it may be cut
PROCESS = 0.5  # GiB that Python and torch take in every worker
LOOK = 0.1  # seconds of steps that an estimate is made from


def say(sentence: str) -> None:
    """A line for the person who waits."""
    print(sentence, file=sys.stderr, flush=True)


def placed(machine: Machine | None, measure: str) -> Machine:
    """The machine, by default the one at hand; what is measured is never on a card."""
    here = machine or Machine()
    return here if measure == "train" else here.model_copy(update={"device": "cpu"})


def stacked(
    runs: Sequence[Run], measure: str = "train", machine: Machine | None = None
) -> list[list[Run]]:
    """Runs grouped by shape and cut into stacks that fit into memory; raises Refused where
    a single run does not, or a measure cannot be taken of a run.

    How large a stack is changes no bit. In compiled kernels runs follow one another, so a
    stack is what would be lost with a worker. Under autograd it is what stays in a core's
    cache; and where width or rows are no multiple of 16, runs go one by one, as the tail of
    a vector instruction would fall on another run's numbers.
    """
    machine = placed(machine, measure)
    groups: dict[object, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    check_measure(runs, measure)
    for run in runs:  # a training that is looked at as it goes stays in one stack
        own = truncated(run) if measure in BY_STEPS else run
        groups[shape(own)][own.key].append(run)
    cut = []
    for group in groups.values():
        networks = list(group.values())
        size = _fitting(list(itertools.chain(*networks)), measure, machine)
        cut += [
            list(itertools.chain(*networks[i : i + size])) for i in range(0, len(networks), size)
        ]
    return cut


def allowed(machine: Machine) -> float:
    """GiB that all workers may take: what is allowed here, or four fifths of the card's."""
    if on(machine.device) == "cuda":
        return 0.8 * torch.cuda.get_device_properties(0).total_memory / 2**30
    return machine.memory_gib


def workers_allowed(runs: Sequence[Run], measure: str, machine: Machine) -> int:
    """How many workers may hold a network of these runs at once; raises Refused for none."""
    run, _, looks = _networks(runs, measure)
    alone = _held(run, 1, looks, measure, machine) / 2**30 + _process(run)
    there = 1 if machine.scheduler else workers.count(machine)  # a cluster's, for each worker
    many = min(there, int(allowed(machine) / alone))
    if many < 1:
        raise Refused(
            f"width {run.net.width}, depth {run.net.depth}: one run needs {alone:.1f} GiB and "
            f"{allowed(machine):g} are allowed; give a larger --memory-gib, or a smaller width, "
            "depth or batch"
        )
    return many


def _process(run: Run) -> float:
    """GiB that a worker takes before it has a network: Python, torch, and many examples."""
    held = task(run.task).x.nbytes if run.task.startswith("fashion") else 0
    return PROCESS + held / 2**30


def _fitting(runs: Sequence[Run], measure: str, machine: Machine) -> int:
    """How many networks like those of these runs make a stack; says so where memory decides."""
    run, _, looks = _networks(runs, measure)
    share = (allowed(machine) / workers_allowed(runs, measure, machine) - _process(run)) * 2**30
    one, two = (_held(run, count, looks, measure, machine) for count in (1, 2))
    fits, size = int(1 + max(0.0, share - one) // (two - one)), _size(run, measure, machine)
    if fits < size:
        say(
            f"width {run.net.width}, depth {run.net.depth}: stacks of {fits} instead of {size}, "
            f"to stay within {allowed(machine):g} GiB"
        )
    return min(fits, size)


def _size(run: Run, measure: str, machine: Machine) -> int:
    net = run.net
    if cost(run) > SAVED * pace(machine.device):
        return 1
    if on(machine.device) == "cuda":
        return 256
    if measure == "train" and compiled.covers(run):
        return int(min(32, max(1, FLIGHT // cost(run))))
    convolved = net.family in ("cnn", "resconv")
    if run.optim.batch * net.width % 16 if convolved else net.width % 16 or rows(run) % 16:
        return 1
    most = 2**12 if net.family == "vit" else 2**11
    cached = min(32, 2**16 // net.width**2, most // rows(run))
    least = 8 if convolved and net.width <= 16 and net.width * rows(run) <= 2**15 else 4
    return max(cached, least if net.width <= 256 else 1)


def memory(runs: Sequence[Run], measure: str = "train", machine: Machine | None = None) -> int:
    """Bytes that a stack takes at its peak, roughly, without Python and torch."""
    return _held(*_networks(runs, measure), measure, placed(machine, measure))


def _in_kernels(run: Run, machine: Machine) -> bool:
    """Whether a run is trained in compiled kernels here."""
    return compiled.covers(run) and on(machine.device) == "cpu"


def _networks(runs: Sequence[Run], measure: str) -> tuple[Run, int, int]:
    """The longest run of a stack, how many networks it has, and how often each is looked at."""
    if measure not in BY_STEPS:
        return runs[0], len(runs), 1
    networks, stops, _ = trainings(runs)
    return networks[0], len(networks), len(stops)


def _held(run: Run, count: int, looks: int, measure: str, machine: Machine) -> int:
    """Bytes of `count` networks, of what they are trained with, and of the order of examples."""
    about, batch = task(run.task), run.optim.batch
    model = build(run.net, about.inputs, about.outputs)
    weights = sum(layer.fan_in * layer.fan_out for layer in model.layers)
    seen = min(about.held_out, PIECE)  # of what is held out, at once
    units, loops = len(model.layers) * run.net.width, _in_kernels(run, machine)
    if run.net.family in IMAGES:
        units = sum(layer.fan_out * layer.places for layer in model.layers)
    if run.net.family == "lm" and measure in UNTRAINED:
        floats = count * (5 * weights + 8 * units * rows(run))
    elif run.net.family in TRANSFORMERS and loops:  # room for a batch, and for one held out
        places = 1 if run.net.family == "vit" else CONTEXT  # those of patches are among the units
        held_out = 2 * about.held_out * about.x[0].numel()
        floats = (count + 5) * weights + 8 * units * batch * places + held_out
    elif run.net.family == "lm":  # of what is held out no gradient is taken
        held_out = 8 * max(layer.fan_out for layer in model.layers) * about.held_out * CONTEXT
        floats = count * (6 * weights + 8 * units * rows(run) + held_out)
    elif measure in ("layer_sizes", "trajectory"):  # weights and their gradients, whole
        floats = count * (3 * weights + 8 * units * batch)
    elif measure in UNTRAINED:
        floats = count * 5 * (weights + 20 * units * batch) // 4
    elif loops:
        floats = (count + 5) * weights + 3 * units * (batch + seen)
    else:
        floats = count * (6 * weights + 8 * units * max(batch, seen))
    if measure in measurement.LEARNED:  # kept at every look
        seen = EXAMPLES * (CONTEXT if run.net.family == "lm" else 1)
        floats += count * (looks * weights + 8 * units * seen)
    return 24 * batch * run.optim.steps + 4 * floats


def estimate(
    runs: Sequence[Run], measure: str = "train", machine: Machine | None = None
) -> pd.DataFrame:
    """What the runs would take here, from a few measured steps of every shape.

    One row per size: task, width, depth, batch, steps (the last at which a training is looked
    at), runs, core_seconds, the GiB that one worker holds at its peak, and how many may work at
    once."""
    machine = placed(machine, measure)
    groups: dict[object, list[list[Run]]] = defaultdict(list)
    for one in stacked(runs, measure, machine):  # rules cost nothing
        groups[shape(one[0].model_copy(update={"rules": ""}))].append(one)
    _seconds(runs[:1], measure, machine)  # for nothing, as the first time loads or compiles
    lines = []
    about = {"desc": "measuring steps of every size", "delay": 2, "leave": False}
    for stacks in tqdm.tqdm(groups.values(), **about):
        run, count = _networks(stacks[0], measure)[0], sum(map(len, stacks))
        some = stacks[0][: _few(stacks[0], measure, machine)]
        seconds = _seconds(some, measure, machine) * count / len(some)
        sizes = {name: run.row()[name] for name in ("task", "width", "depth", "batch", "steps")}
        held = _process(run) + memory(stacks[0], measure, machine) / 2**30
        at_once = workers_allowed(stacks[0], measure, machine)
        lines.append({**sizes, "runs": count, "core_seconds": seconds, "gib": held})
        lines[-1]["workers"] = at_once
    found = pd.DataFrame(lines)
    sizes = ["task", "width", "depth", "batch", "steps"]
    how = {"runs": "sum", "core_seconds": "sum", "gib": "max", "workers": "min"}
    return found.groupby(sizes, sort=False, as_index=False).agg(how)


def swept(runs: Sequence[Run]) -> list[str]:
    """The grid of runs, a line per field that is not at its default: its name and its values,
    or first to last where they are evenly spaced."""
    apart = {(run.net, run.rules, run.base, run.optim, run.task): run for run in runs}
    rows, seeds = [run.row() for run in apart.values()], [run.seed for run in runs]
    plain = {**Net(family="mlp", width=1, depth=1).model_dump(), "schedule": "constant"}
    plain |= {"warmup": 0, "decay": 0.0, "log2_lr_ends": None, "momentum": 0.0}
    lines = []
    for name in (*COLUMNS, *LATER):
        said = seeds if name == "seed" else [row.get(name, DEFAULTS.get(name)) for row in rows]
        values = [value for value in dict.fromkeys(said) if value is not None]
        if values and (name in ("width", "depth", "family") or values != [plain.get(name)]):
            lines.append(f"{name}: {'off, ' if None in said else ''}{_listed(values)}")
    return lines


def _listed(values: list[Any]) -> str:
    """Values in words; four or more numbers in a row at even steps by their ends and the step."""
    if any(isinstance(value, (str, bool)) for value in values):
        return ", ".join(map(str, values))
    values = sorted(values)
    parts: list[str] = []
    while values:
        many, by = _even(values)
        named = [f"{value:g}" for value in values[:many]]
        if many > 3:
            parts.append(f"{named[0]} to {named[-1]}{f' by {by:g}' if by != 1 else ''}")
        else:
            parts += named[:1]
        values = values[many if many > 3 else 1 :]
    return ", ".join(parts)


def _even(values: list[float]) -> tuple[int, float]:
    """How many of the first values lie at even steps, and the step."""
    steps = [round(b - a, 9) for a, b in itertools.pairwise(values)]
    return 1 + len(list(itertools.takewhile(lambda step: step == steps[0], steps))), sum(steps[:1])


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
    if seconds > 7200:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds > 90 else f"{seconds:.1f} seconds"


def _few(runs: list[Run], measure: str, machine: Machine) -> int:
    """How many runs of a stack tell what each of them takes. In compiled kernels one does, under
    autograd the whole stack; of a measure one network, which by itself takes no less."""
    if measure == "train" and not _in_kernels(runs[0], machine):
        return len(runs)
    return _networks(runs, measure)[2]


def _seconds(runs: Sequence[Run], measure: str, machine: Machine) -> float:
    """Seconds that runs take on one thread or on a card, from their start and some of their
    steps."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    if measure != "train":
        measurement.measured(runs, measure)
        return time.perf_counter() - start
    session = next(sessions(stack(runs), on(machine.device)))
    asked = runs[0].optim.steps
    begun, done, more, each = time.perf_counter() - start, 0, 1, 0.0
    with denormals_flushed():
        if asked > 1:
            session.learn(0, 1)  # loads what is loaded once
            done = 1
        while done < asked and each * done < LOOK:  # the last look counts
            start, end = time.perf_counter(), min(done + more, asked)
            session.learn(done, end)
            each = (time.perf_counter() - start) / (end - done)
            done, more = end, 4 * more
    # what is held out is seen once, forward only: a third of a step's work an example
    return begun + each * (asked + task(runs[0].task).held_out / runs[0].optim.batch / 3)
