"""The residual MLP with every block replaced by its linearisation in its own weights.

With W = W_0 + D, a block F(W; x) becomes F(W_0; x) + dF(W_0; x)[D]: products of two changes
of one block are left out, those of different blocks are not, and the stream is not
linearised. Source: Tensor Programs VI, section 9.2, as the control of its claim that with two
matrices in a block nothing is lost by it as depth grows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fathom.networks.layers import Apply, Linear, Model, center, layer_norm, nonlinearity
from fathom.spec import Net


def linearised(net: Net, inputs: int | None, outputs: int) -> Model:
    """The layers of a residual MLP, then one for what each block's matrix has learned, which
    begins at 0; units: the stream after each block."""
    width, pre = net.width, net.order == "pre"
    numbers = [""] if net.block_depth == 1 else [":1", ":2"]
    count = net.depth * net.block_depth
    start, change = (
        [Linear(role + number, width, width) for number in numbers] * net.depth
        for role in ("block", "change")
    )
    layers = (
        Linear("input", inputs or width, width),
        *start,
        *change,
        Linear("readout", width, outputs),
    )

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        phi = nonlinearity(net.phi)
        stream, units = apply(0, x), []
        for first in range(1, 1 + count, net.block_depth):
            then, moved = expanded(net, apply, lambda i, h: apply(i + count, h), first, stream)
            h = then + moved
            stream = torch.addcmul(stream, branch, center(h) if net.center else h)
            units.append(stream)
        return apply(len(layers) - 1, phi(stream) if pre else stream), units

    first = tuple(range(1, 1 + count, net.block_depth))
    return Model(layers, forward, first, first)


def expanded(
    net: Net, start: Apply, change: Apply, first: int, stream: Tensor
) -> tuple[Tensor, Tensor]:
    """A block at a stream under the weights it began with, and to first order what their
    change adds; `start(i, h)` and `change(i, h)` are the i-th layer with the one or the other
    for a weight. Source: Tensor Programs VI, section 9.2."""
    phi = nonlinearity(net.phi)
    h = layer_norm(stream) if net.norm == "layer" else stream
    moved = torch.zeros_like(h)
    for i in range(first, first + net.block_depth):
        if net.order == "pre":
            h, moved = _onward(phi, h, moved)
        h, moved = start(i, h), start(i, moved) + change(i, h)
        if net.order == "post":
            h, moved = _onward(phi, h, moved)
    return h, moved


def _onward(phi: Callable[[Tensor], Tensor], h: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """phi at h, and what it makes of a small change of h."""
    found = torch.func.jvp(phi, (h,), (moved,))
    return found[0], found[1]
