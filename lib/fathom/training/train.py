"""Training: runs of one shape in, their curves out, each run with bits of its own.

A family that is trained often has compiled kernels (compiled.py), one run after the other;
everything else is a stack under autograd (autograd.py), and on a card all is. Which of the two
follows from the run and the device alone.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from fathom.networks.families import build
from fathom.networks.layers import Layer
from fathom.networks.stack import Stack, stack
from fathom.networks.tasks import CONTEXT, task
from fathom.phi import Array, left_slope
from fathom.spec import Refused, Run
from fathom.training import autograd, compiled

# Bumped by hand when a change moves numbers: every row trained before is then trained anew.
NUMERICS = {"mlp": 3, "resmlp": 3, "sgd": 1, "adam": 2, "digits": 1, "gaussian": 1}
NUMERICS |= {"linearised": 1, "lm": 2, "text": 1, "unit": 1, "pair": 1}
NUMERICS |= {"cnn": 1, "resconv": 1, "vit": 1}
NUMERICS |= {"fashion28": 1, "fashion14": 1, "fashion7": 1, "decay": 2}
NUMERICS |= {"smooth": 1}  # tanh and GELU in the compiled kernels of mlp and resmlp
NUMERICS |= {"loops": 1}  # transformers of images, or with norms elsewhere, in compiled kernels

IMAGES = ("cnn", "resconv", "vit")
PIECE = 2e10  # operations between two moments at which training can be interrupted, about 0.2 s
SAVED = 3e12  # operations between two checkpoints of a large run, about half a minute
CARD = 200  # how many times as many operations a card does in the same time, roughly


def numerics(run: Run, learned: bool = True) -> str:
    """The versions that a run's numbers depend on, such as "resmlp 3 adam 2 digits 1"; those of
    the compiled kernels only where the run is `learned` in them, not by autograd."""
    parts = [run.net.family, run.optim.kind, run.task.split("_")[0]]
    if run.optim.decay and run.optim.kind == "sgd":
        parts.append("decay")
    if learned and compiled.covers(run):
        net = run.net
        plain = net.placement == "pre" and not net.parallel and net.layer_scale is None
        if net.family == "vit" or not plain:
            parts += ["loops"]
        elif net.family != "lm" and left_slope(net.phi) is None:
            parts += ["smooth"]
    return " ".join(f"{part} {NUMERICS[part]}" for part in parts)


def rows(run: Run) -> int:
    """How many rows of activations a step has: examples, or the places of each of them."""
    if run.net.family in IMAGES:
        return run.optim.batch * max(layer.places for layer in _layers(run))
    return run.optim.batch * (CONTEXT if run.net.family == "lm" else 1)


def cost(run: Run) -> float:
    """What a run costs, in arithmetic operations, roughly."""
    if run.net.family in IMAGES:
        each = ((layer.fan_in * layer.fan_out, layer.places) for layer in _layers(run))
        batch = run.optim.batch
        return float(run.optim.steps * sum(size * (6 * batch * many + 60) for size, many in each))
    each = {"lm": 12, "linearised": 3 * run.net.block_depth}
    matrices = run.net.depth * each.get(run.net.family, run.net.block_depth) + 1
    return float(run.optim.steps * matrices * run.net.width**2 * (6 * rows(run) + 60))


def _layers(run: Run) -> tuple[Layer, ...]:
    about = task(run.task)
    return build(run.net, about.inputs, about.outputs).layers


class Curves(NamedTuple):
    """What a stack's training gave: the loss of every step (runs, steps), before that
    step's update, the held-out loss after the last one (runs,), and the networks then.
    Diverged runs hold values that are not finite."""

    loss: Array
    held_out: Array
    nets: Stack


class Checkpoint(Protocol):
    """Where a large run leaves what it needs to go on: named arrays, all of them or none."""

    def load(self) -> dict[str, np.ndarray] | None: ...
    def save(self, arrays: dict[str, np.ndarray]) -> None: ...


class Session(Protocol):
    """A training that can be taken up at any step: the arrays that change as it goes."""

    state: list[Tensor]

    def learn(self, start: int, end: int) -> Array:
        """Train from step `start` to before `end`; the losses, shape (runs, steps)."""
        ...

    def leave(self, nets: Stack) -> None:
        """Write the weights as they are now into a stack of the same runs."""
        ...

    def held_out(self) -> Array:
        """The loss of each run on what its task holds out."""
        ...


def on(device: str) -> str:
    """cpu or cuda: auto is cuda where there is one. Raises Refused for a cuda that is not."""
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise Refused("device: cuda is asked for, but torch finds no GPU; give auto or cpu")
    return "cuda" if device != "cpu" and there else "cpu"


def pace(device: str) -> int:
    """How many operations a device does in the time in which one core does one, roughly."""
    return CARD if on(device) == "cuda" else 1


def train(
    runs: Sequence[Run],
    steps: int | None = None,
    checkpoint: Checkpoint | None = None,
    device: str = "cpu",
) -> Curves:
    """Train a stack of runs of one shape; `steps` stops early without changing the batches.

    A checkpoint, for one run alone, is read first and written every 3e12 operations (6e14 on
    a card): a run cut short goes on from there, to the same bits.
    """
    first, nets = runs[0], stack(runs)
    end = first.optim.steps if steps is None else min(steps, first.optim.steps)
    curves, held_out = [], []
    with denormals_flushed():
        for session in sessions(nets, on(device)):
            curves.append(_learn(session, end, _each(nets) / pace(device), checkpoint))
            session.leave(nets)
            held_out.append(session.held_out())
            del session  # else it would stay while the next one is made
    return Curves(np.concatenate(curves), np.concatenate(held_out), nets)


def learned(nets: Stack, stops: Sequence[int]) -> list[Stack]:
    """The networks of a stack after each of these numbers of steps, which grow; no loss on
    what is held out. The stack stays as it is."""
    there, each = [_copied(nets) for _ in stops], _each(nets)
    with denormals_flushed():
        now = nets if compiled.covers(nets.runs[0]) else _copied(nets)
        for session in sessions(now, "cpu"):
            for start, end, taught in zip((0, *stops), stops, there, strict=False):
                _learn(session, end, each, None, start)
                session.leave(taught)
            del session
    return there


def _copied(nets: Stack) -> Stack:
    return nets._replace(weights=[weight.clone() for weight in nets.weights])


def sessions(nets: Stack, device: str) -> Iterator[Session]:
    """The trainings that a stack takes, each made when it is asked for."""
    if device == "cpu" and compiled.covers(nets.runs[0]):
        return (compiled.session(nets, i) for i in range(len(nets.runs)))
    return iter([autograd.Session(nets, device)])


def _each(nets: Stack) -> float:
    """What a step of a stack costs, in arithmetic operations, roughly."""
    return cost(nets.runs[0]) / nets.runs[0].optim.steps * len(nets.runs)


def _learn(
    session: Session, end: int, each: float, checkpoint: Checkpoint | None, start: int = 0
) -> Array:
    """The losses from step `start` to before `end`, those up to a checkpoint from there; `each`
    is the cost of a step, in a core's operations."""
    curve, since = [], 0.0
    found = checkpoint.load() if checkpoint else None
    if found and _of(session, found, end):
        curve.append(found["curve"])
        start = found["curve"].shape[1]
        for name, here in _named(session).items():
            here.copy_(torch.from_numpy(found[name]))
    piece = max(1, int(PIECE / each))
    for begin in range(start, end, piece):
        stop = min(begin + piece, end)
        curve.append(session.learn(begin, stop))
        since += each * (stop - begin)
        if checkpoint and since >= SAVED and stop < end:
            arrays = {name: part.cpu().numpy() for name, part in _named(session).items()}
            checkpoint.save({"curve": np.concatenate(curve, axis=1), **arrays})
            since = 0.0
    return np.concatenate(curve, axis=1) if curve else np.empty((1, 0))


def _named(session: Session) -> dict[str, Tensor]:
    return {f"state_{i:04d}": part for i, part in enumerate(session.state)}


def _of(session: Session, found: dict[str, np.ndarray], end: int) -> bool:
    """Whether arrays are those of a checkpoint of this training before step `end`, by their
    names, shapes and kinds of number."""
    arrays = {name: part.cpu().numpy() for name, part in _named(session).items()}
    wanted = {name: (part.shape, part.dtype) for name, part in arrays.items()}
    there = {name: (part.shape, part.dtype) for name, part in found.items() if name != "curve"}
    curve = found.get("curve", np.empty(0))
    rows, steps = curve.shape if curve.ndim == 2 else (0, 0)
    return there == wanted and rows == 1 and steps <= end and curve.dtype == np.float64


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Numbers too small for full precision become 0 here: a hundredfold faster, and part of
    what the bits are."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def summary(curves: Curves) -> list[dict[str, float]]:
    """The losses of a table's row, one dictionary per run: means over all steps and over each
    fifth of them, and the held-out loss; all inf where any of them is not finite."""
    steps = curves.loss.shape[1]
    fifth = max(1, steps // 5)
    starts = [min(i * fifth, steps - fifth) for i in range(4)] + [steps - fifth]
    names = ("loss_early", "loss_second", "loss_third", "loss_fourth", "loss_late")
    rows = []
    for loss, held_out in zip(curves.loss, curves.held_out, strict=True):
        row = {"loss_mean": float(loss.mean())}
        for name, start in zip(names, starts, strict=True):
            row[name] = float(loss[start : start + fifth].mean())
        row["loss_held_out"] = float(held_out)
        finite = bool(np.isfinite(loss).all() and np.isfinite(held_out))
        rows.append(row if finite else dict.fromkeys(row, math.inf))
    return rows
