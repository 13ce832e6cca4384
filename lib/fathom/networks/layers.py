"""Layers that know their role and fan-in, and the few operations without weights.

A model is a list of such layers and a function that applies them. The function never
sees a weight: it is handed `apply(i, h)`, the i-th layer with its multiplier. That one
seam lets the same ten lines be trained as a stack of runs and probed to first order.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fathom.phi import left_slope

Apply = Callable[[int, Tensor], Tensor]


class Linear(NamedTuple):
    """A weight of shape (fan_in, fan_out) and the role that decides its scaling."""

    role: str
    fan_in: int
    fan_out: int


class Model(NamedTuple):
    """Layers, and `forward(apply, branch, x) -> (output, units)`.

    `branch` is the factor on every residual branch, broadcast against activations of
    shape (runs, batch, width). The units are the tensors whose movement theory speaks of:
    pre-activations of a chain, the stream after each addition of a residual network.
    """

    layers: tuple[Linear, ...]
    forward: Callable[[Apply, Tensor, Tensor], tuple[Tensor, list[Tensor]]]


def nonlinearity(name: str) -> Callable[[Tensor], Tensor]:
    """The torch function of a nonlinearity's name (see fathom.phi)."""
    left = left_slope(name)
    if name in ("relu", "abs", "tanh"):
        return getattr(torch, name)
    if left is not None:
        return (lambda z: z) if left == 1 else lambda z: torch.where(z > 0, z, left * z)
    return getattr(torch.nn.functional, name)


def center(h: Tensor) -> Tensor:
    """Mean subtraction over the width (Tensor Programs VI: MS)."""
    return h - h.mean(-1, keepdim=True)


def layer_norm(h: Tensor) -> Tensor:
    """Layer normalisation over the width, without gain or bias."""
    return torch.nn.functional.layer_norm(h, h.shape[-1:])
