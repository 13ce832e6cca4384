"""Training in compiled loops: one run of a family that is trained often."""

import numpy as np
import torch

from fathom.net import blas, loops
from fathom.net.data import task
from fathom.net.room import Plan, Weights, room
from fathom.net.stack import Stack, epsilon, rate
from fathom.phi import Array, left_slope
from fathom.spec import Run


def covers(run: Run) -> bool:
    """Whether the loops can train a run: a residual MLP or a chain, phi straight on both
    sides of 0, at a constant rate."""
    straight = run.net.family in ("mlp", "resmlp") and left_slope(run.net.phi) is not None
    return straight and run.optim.plain


class Session:
    """The training of the i-th run of a stack; the stack stays as it is."""

    def __init__(self, nets: Stack, i: int) -> None:
        run, about = nets.runs[i], task(nets.runs[i].task)
        mine = [weight[i].numpy() for weight in nets.weights]
        width = run.net.width
        self.weights = Weights(
            mine[0].copy(),
            np.array(mine[1:-1], np.float32).reshape(-1, width, width),
            mine[-1].copy(),
        )
        self.first, self.second = self.weights.zeros(), self.weights.zeros()
        self.i, self.plan = i, _plan(nets, i)
        self.order = about.batches(run.seed, run.optim.batch, run.optim.steps).numpy()
        classes = about.y.dtype == torch.int64
        self.x = about.x.numpy()
        self.labels = about.y.numpy() if classes else np.empty(0, np.int64)
        self.values = np.empty((0, 0), np.float32) if classes else about.y.numpy()
        self.room = room(self.weights, run.optim.batch, run.net.block_depth, self.plan.norm)
        self.rows = np.arange(len(self.x) - about.held_out, len(self.x))
        parts = [*self.weights, *self.first, *self.second]
        self.state = [torch.from_numpy(part) for part in parts]

    def learn(self, start: int, end: int) -> Array:
        """Train from step `start` to before `end`; the losses, shape (1, steps)."""
        curve = np.empty(end - start)
        blas.one_thread()
        loops.learn(
            self.plan, self.weights, self.first, self.second, self.room,
            self.x, self.labels, self.values, self.order[start:end], start, curve,
        )  # fmt: skip
        return curve[None]

    def leave(self, nets: Stack) -> None:
        """Write the weights as they are now into a stack of the same runs."""
        stem, blocks, readout = self.weights
        for here, there in zip([stem, *blocks, readout], nets.weights, strict=True):
            there[self.i] = torch.from_numpy(here)

    def held_out(self) -> Array:
        """The loss on the examples the task holds out, shape (1,)."""
        blas.one_thread()
        at = room(self.weights, len(self.rows), self.plan.block_depth, self.plan.norm)
        data = self.x, self.labels, self.values, self.rows
        return np.array([loops.loss(self.plan, self.weights, at, *data)])


def _plan(nets: Stack, i: int) -> Plan:
    run, layers = nets.runs[i], nets.model.layers
    chain = run.net.family == "mlp"

    def each(values: list[float]) -> np.ndarray:
        return np.array(values, np.float32)

    return Plan(
        left=np.float32(left_slope(run.net.phi) or 0.0),
        pre=chain or run.net.order == "pre",
        keep=np.float32(0 if chain else 1),
        center=run.net.center,
        norm=run.net.norm == "layer",
        ends=run.net.train_ends,
        adam=run.optim.kind == "adam",
        block_depth=run.net.block_depth,
        branch=np.float32(1 if chain else float(nets.branch[i])),
        mult=each([float(mult[i]) for mult in nets.mults]),
        rate=each([rate(run, layer.role) for layer in layers]),
        eps=each([epsilon(run, layer.role) for layer in layers]),
    )
