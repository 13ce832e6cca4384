"""The residual MLP of all three papers: x^0 = U xi, x^l = x^(l-1) + branch F(x^(l-1)).

Order post (Tensor Programs VI): F = phi(W x), f = V x^L. Order pre (Depthwise transfer):
F = W phi(x), f = V phi(x^L). Block depth 2 repeats the layer inside F.
"""

import torch
from torch import Tensor

from fathom.networks.layers import Apply, Linear, Model, center, layer_norm, nonlinearity
from fathom.spec import Net


def resmlp(net: Net, inputs: int | None, outputs: int) -> Model:
    """A stem, `depth` residual blocks and a read-out; units: the stream after each block."""
    width, phi, pre = net.width, nonlinearity(net.phi), net.order == "pre"
    roles = ["block"] if net.block_depth == 1 else ["block:1", "block:2"]
    blocks = [Linear(role, width, width) for role in roles] * net.depth
    layers = (Linear("input", inputs or width, width), *blocks, Linear("readout", width, outputs))

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        stream, units = apply(0, x), []
        for first in range(1, len(layers) - 1, net.block_depth):
            h = block(net, apply, first, stream)
            stream = torch.addcmul(stream, branch, center(h) if net.center else h)
            units.append(stream)
        return apply(len(layers) - 1, phi(stream) if pre else stream), units

    starts = tuple(range(1, len(layers) - 1, net.block_depth))

    def one(apply: Apply, branch: Tensor, k: int, stream: Tensor) -> Tensor:
        del branch
        return block(net, apply, starts[k], stream)

    return Model(layers, forward, starts, starts, one)


def block(net: Net, apply: Apply, first: int, stream: Tensor) -> Tensor:
    """F at a stream, for the block that begins with layer `first`; its mean is not yet off."""
    phi = nonlinearity(net.phi)
    h = layer_norm(stream) if net.norm == "layer" else stream
    for i in range(first, first + net.block_depth):
        h = apply(i, phi(h)) if net.order == "pre" else phi(apply(i, h))
    return h
