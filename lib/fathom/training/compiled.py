"""Training in compiled kernels: one run of a family that is trained often."""

import math

import numpy as np
import torch
from torch import Tensor

from fathom.networks.families.vit import patches
from fathom.networks.stack import Stack, epsilon, rate, schedule, shrinkage
from fathom.networks.tasks import task
from fathom.phi import Array, left_slope
from fathom.spec import Run
from fathom.training.kernels import blas, residual, transformer
from fathom.training.kernels.residual_buffers import (
    GELU,
    STRAIGHT,
    TANH,
    Network,
    Weights,
    buffers,
)
from fathom.training.kernels.transformer_buffers import (
    NONE,
    POST,
    PRE,
    TransformerNetwork,
    TransformerWeights,
    transformer_buffers,
)

CURVES = {"tanh": TANH, "gelu": GELU}
PLACEMENTS = {"pre": PRE, "post": POST, "none": NONE}
MATRICES, GAIN = 6, 8  # matrices in a layer of a transformer, and the first gain, where there are
TRANSFORMERS = ("lm", "vit")


def covers(run: Run) -> bool:
    """Whether the loops can train a run: a residual MLP or a chain at a constant rate, without
    decay, with tanh, GELU or straight pieces; or a transformer with GELU, all of which learns, that
    has no biases, gains of norms or dropout, and names classes."""
    net = run.net
    if run.optim.momentum:
        return False
    if net.family in TRANSFORMERS:
        more = net.affine or net.bias or net.dropout or run.task.endswith("_mse")
        return net.phi == "gelu" and net.train_ends and not more
    known = net.phi in CURVES or left_slope(net.phi) is not None
    return net.family in ("mlp", "resmlp") and known and run.optim.plain


def session(nets: Stack, i: int) -> "Session | TransformerSession":
    """The training of the i-th run of a stack; the stack stays as it is."""
    transformer = nets.runs[i].net.family in TRANSFORMERS
    return (TransformerSession if transformer else Session)(nets, i)


class Session:
    """The training of a residual MLP or a chain."""

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
        self.i, self.net = i, _network(nets, i)
        self.order = about.batches(run.seed, run.optim.batch, run.optim.steps).numpy()
        classes = about.y.dtype == torch.int64
        self.x = about.x.numpy()
        self.labels = about.y.numpy() if classes else np.empty(0, np.int64)
        self.values = np.empty((0, 0), np.float32) if classes else about.y.numpy()
        self.buffers = buffers(self.weights, run.optim.batch, run.net.block_depth, self.net.norm)
        self.pieces = about.pieces()
        parts = [*self.weights, *self.first, *self.second]
        self.state = [torch.from_numpy(part) for part in parts]

    def learn(self, start: int, end: int) -> Array:
        """Train from step `start` to before `end`; the losses, shape (1, steps)."""
        curve = np.empty(end - start)
        blas.one_thread()
        residual.learn(
            self.net, self.weights, self.first, self.second, self.buffers,
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
        pieces = [np.arange(one.start, one.stop) for one in self.pieces]
        at = buffers(self.weights, len(pieces[0]), self.net.block_depth, self.net.norm)
        data = self.x, self.labels, self.values
        found = [residual.loss(self.net, self.weights, at, *data, rows) for rows in pieces]
        return np.array(found).mean(keepdims=True)


def _network(nets: Stack, i: int) -> Network:
    run, layers = nets.runs[i], nets.model.layers
    chain = run.net.family == "mlp"

    def each(values: list[float]) -> np.ndarray:
        return np.array(values, np.float32)

    return Network(
        curve=CURVES.get(run.net.phi, STRAIGHT),
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


class TransformerSession:
    """The training of a transformer."""

    def __init__(self, nets: Stack, i: int) -> None:
        run, self.task, self.i = nets.runs[i], task(nets.runs[i].task), i
        self.weights = _sides(nets, i)
        self.first, self.second = self.weights.zeros(), self.weights.zeros()
        self.net, self.optim, self.patch = _transformer(nets, i), run.optim, run.net.patch
        self.order = self.task.batches(run.seed, run.optim.batch, run.optim.steps)
        self.buffers = transformer_buffers(self.net, self.weights, run.optim.batch)
        parts = [*self.weights, *self.first, *self.second]
        self.state = [torch.from_numpy(part) for part in parts]

    def learn(self, start: int, end: int) -> Array:
        """Train from step `start` to before `end`; the losses, shape (1, steps)."""
        curve, steps = np.empty(end - start), range(start, end)
        shares = np.array([schedule(self.optim, step) for step in steps], np.float32)
        batches = self.batches(self.order[start:end])
        blas.one_thread()
        transformer.learn(
            self.net, self.weights, self.first, self.second, self.buffers,
            *batches, start, shares, curve,
        )  # fmt: skip
        return curve[None]

    def batches(self, order: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The examples of an order (steps, batch) as the loops want them: tokens, patches and
        targets, of which one of the first two is empty."""
        x, y, steps = self.task.x[order], self.task.y[order].flatten(1).numpy(), len(order)
        if self.net.images:
            return np.empty((steps, 0), np.int64), patches(x, self.patch).numpy(), y
        return x.flatten(1).numpy(), np.empty((steps, 0, 0), np.float32), y

    def leave(self, nets: Stack) -> None:
        """Write the weights as they are now into a stack of the same runs."""
        embed, places, qkv, mix, up, down, readout, gains = map(torch.from_numpy, self.weights)
        layers = [
            each
            for k in range(len(qkv))
            for each in (
                *qkv[k].chunk(3, dim=1), mix[k], up[k], down[k],
                *(gain[None] for gain in gains[k : k + 1].flatten(0, 1)),
            )
        ]  # fmt: skip
        for here, there in zip([embed, places, *layers, readout], nets.weights, strict=True):
            there[self.i] = here

    def held_out(self) -> Array:
        """The loss on the examples the task holds out, shape (1,)."""
        blas.one_thread()
        held_out, end = self.task.held_out, len(self.task.x)
        size = math.gcd(held_out, self.optim.batch)
        batches = self.batches(torch.arange(end - held_out, end).reshape(-1, size))
        curve = np.empty(held_out // size)
        at = transformer_buffers(self.net, self.weights, size)
        transformer.losses(self.net, self.weights, at, *batches, curve)
        return curve.mean(keepdims=True)


def _sides(nets: Stack, i: int) -> TransformerWeights:
    mine = [weight[i].numpy() for weight in nets.weights]
    size = (len(mine) - 3) // nets.runs[i].net.depth
    layers = [mine[first : first + size] for first in range(2, len(mine) - 1, size)]
    qkv = np.stack([np.concatenate(layer[:3], axis=1) for layer in layers])
    mix, up, down = (np.stack([layer[k] for layer in layers]) for k in (3, 4, 5))
    gains = [np.concatenate(layer[MATRICES:]) for layer in layers if len(layer) > MATRICES]
    apart = np.array(gains, np.float32).reshape(-1, 2, mix.shape[2])
    return TransformerWeights(
        mine[0].copy(), mine[1].copy(), qkv, mix, up, down, mine[-1].copy(), apart
    )


def _transformer(nets: Stack, i: int) -> TransformerNetwork:
    run, layers = nets.runs[i], nets.model.layers
    # a layer of the model for each part of the weights; where there are no gains, any will do
    parts = (0, 1, 2, 5, 6, 7, -1, GAIN if run.net.layer_scale is not None else 0)
    roles = [layers[k].role for k in parts]

    def each(values: list[float]) -> np.ndarray:
        return np.array(values, np.float32)

    return TransformerNetwork(
        images=run.net.family == "vit",
        placement=PLACEMENTS[run.net.placement],
        parallel=run.net.parallel,
        branch=np.float32(float(nets.branch[i])),
        adam=run.optim.kind == "adam",
        mult=each([float(nets.mults[k][i]) for k in parts]),
        rate=each([rate(run, role) for role in roles]),
        eps=each([epsilon(run, role) for role in roles]),
        shrink=each([shrinkage(run, role) for role in roles]),
    )
