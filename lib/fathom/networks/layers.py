"""Layers that know their role and fan-in, and the few operations without weights.

A model is a list of such layers and a function that applies them. The function never
sees a weight: it is handed `apply(i, h)`, the i-th layer with its multiplier. That one
seam lets the same ten lines be trained as a stack of runs and probed to first order.

Activations have shape (runs, rows, width), where rows are examples, or the places of each
of them; images have shape (runs, batch, channels, height, width).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fathom.phi import left_slope

Apply = Callable[[int, Tensor], Tensor]
NORM_EPSILON = 1e-5  # as in torch


class Linear(NamedTuple):
    """A weight of shape (fan_in, fan_out) and the role that decides its scaling. `places` is how
    many rows of each example it is applied to."""

    role: str
    fan_in: int
    fan_out: int
    places: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.fan_in, self.fan_out

    def begin(self, seed: int) -> Tensor:
        """Standard normal entries, before they are scaled."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))

    def act(self, weight: Tensor, h: Tensor) -> Tensor:
        """The layers of a stack on h; whole numbers are looked up."""
        if h.dtype == torch.int64:
            rows = h.flatten(1) + weight.shape[1] * torch.arange(len(h), device=h.device)[:, None]
            return torch.nn.functional.embedding(rows, weight.flatten(0, 1))
        return torch.bmm(h, weight)


class Conv(NamedTuple):
    """A convolution of images: a weight of shape (fan_out, fan_in) with fan_in = channels x kernel
    x kernel. Outputs have as many pixels a side as inputs, over stride, rounded up."""

    role: str
    fan_in: int
    fan_out: int
    kernel: int
    places: int
    stride: int = 1
    circular: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return self.fan_out, self.fan_in

    def begin(self, seed: int) -> Tensor:
        """Standard normal entries, before they are scaled."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))

    def act(self, weight: Tensor, h: Tensor) -> Tensor:
        """The convolutions of a stack, as groups of one convolution."""
        if len(h) == 1 and h.device.type == "cpu":  # oneDNN computes one group by other means
            return self.act(weight.expand(2, -1, -1), h.expand(2, *h.shape[1:]))[:1]
        runs, batch, channels, *_ = h.shape
        size = self.fan_in // self.kernel**2
        grouped = h.transpose(0, 1).reshape(batch, runs * channels, *h.shape[3:])
        kernels = weight.reshape(runs * self.fan_out, size, self.kernel, self.kernel)
        before, after = (self.kernel - 1) // 2, self.kernel // 2
        padding = before if before == after and not self.circular else 0
        if not padding and after:
            mode = "circular" if self.circular else "constant"
            edges = (before, after, before, after)
            grouped = torch.nn.functional.pad(grouped, edges, mode=mode)
        y = torch.nn.functional.conv2d(grouped, kernels, None, self.stride, padding, 1, runs)
        return y.reshape(batch, runs, self.fan_out, *y.shape[2:]).transpose(0, 1)


class Vector(NamedTuple):
    """One number for each unit or channel, which all begin at `start`: a gain multiplies, a bias is
    added. Its weight has shape (1, fan_out)."""

    role: str
    fan_out: int
    start: float
    fan_in: int = 1
    places: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.fan_in, self.fan_out

    def begin(self, seed: int) -> Tensor:
        """Its entries at the start, whichever the seed."""
        del seed
        return torch.full(self.shape, self.start)

    def act(self, weight: Tensor, h: Tensor) -> Tensor:
        """The gains or biases of a stack on h; a bias starts at 0, a gain does not."""
        if h.ndim == 5:
            weight = weight[..., None, None]
        return h * weight if self.start else h + weight


Layer = Linear | Conv | Vector


Block = Callable[[Apply, Tensor, int, Tensor], Tensor]


class Model(NamedTuple):
    """Layers, and `forward(apply, branch, x) -> (output, units)`.

    `branch` is the factor on every residual branch, shape (runs, 1, 1). The units are the tensors
    whose movement theory speaks of: pre-activations of a chain, the stream after each addition of
    a residual network.

    For measures, of every unit: `hidden`, the layer that gives a pre-activation, of two in a block
    the first; of a residual network also `blocks`, the first layer behind the unit before, and
    `block(apply, branch, k, stream)`, what the k-th block makes of the stream before it, as far as
    `forward` only adds that to the stream, with or without the branch factor.
    """

    layers: tuple[Layer, ...]
    forward: Callable[[Apply, Tensor, Tensor], tuple[Tensor, list[Tensor]]]
    hidden: tuple[int, ...]
    blocks: tuple[int, ...] = ()
    block: Block | None = None


def along(factor: Tensor, h: Tensor) -> Tensor:
    """One number per run, shape (runs, 1, 1), ready to multiply activations or images."""
    return factor if h.ndim == 3 else factor[..., None, None]


def nonlinearity(name: str) -> Callable[[Tensor], Tensor]:
    """The torch function of a nonlinearity's name (see fathom.phi)."""
    left = left_slope(name)
    if name in ("relu", "abs", "tanh", "erf"):
        return getattr(torch, name)
    if left is not None:
        return (lambda z: z) if left == 1 else lambda z: torch.where(z > 0, z, left * z)
    return getattr(torch.nn.functional, name)


def center(h: Tensor) -> Tensor:
    """Mean subtraction over the width, or the channels (Tensor Programs VI: MS)."""
    return h - h.mean(2, keepdim=True)


def layer_norm(h: Tensor) -> Tensor:
    """Layer normalisation over the width, without gain or bias."""
    return torch.nn.functional.layer_norm(h, h.shape[-1:])


def standardise(h: Tensor, over: str) -> Tensor:
    """Images or rows with mean 0 and variance 1: `over` layer, the channels of every place; batch,
    the examples and places of every channel, which at any time are those that are seen."""
    image = h.ndim == 5
    layer, batch = ((2,), (1, 3, 4)) if image else ((2,), (1,))
    axes = layer if over == "layer" else batch
    apart = h - h.mean(axes, keepdim=True)
    return apart / (apart.square().mean(axes, keepdim=True) + NORM_EPSILON).sqrt()


def halved(h: Tensor) -> Tensor:
    """Images by the largest of every 2 x 2 pixels; an odd last row or column counts alone."""
    runs, batch = h.shape[:2]
    grouped = h.transpose(0, 1).flatten(1, 2)
    pooled = torch.nn.functional.max_pool2d(grouped, 2, ceil_mode=True)
    return pooled.reshape(batch, runs, -1, *pooled.shape[2:]).transpose(0, 1)


def images(x: Tensor) -> Tensor:
    """Rows of pixels (runs, batch, pixels) as images of one channel."""
    side = math.isqrt(x.shape[-1])
    return x.reshape(*x.shape[:2], 1, side, side)
