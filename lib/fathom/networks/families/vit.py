"""A vision transformer: patches of an image as the places of a transformer."""

import math

import torch
from torch import Tensor

from fathom.networks.families.transformer import (
    finished,
    last_norm,
    layered,
    through,
    transformer_layer,
)
from fathom.networks.layers import Apply, Layer, Linear, Model, Vector
from fathom.spec import Net


def patches(images: Tensor, size: int) -> Tensor:
    """Square patches of images (any number, batch, pixels) as rows, in the order of their places:
    shape (any number, batch x places, size x size)."""
    many, batch, pixels = images.shape
    side = math.isqrt(pixels) // size
    cut = images.reshape(many, batch, side, size, side, size).transpose(3, 4)
    return cut.reshape(many, batch * side**2, size**2)


def vit(net: Net, inputs: int | None, outputs: int) -> Model:
    """A matrix on every patch, embeddings of places, `depth` layers of attention and MLP, and a
    read-out of the mean over places. Units: the stream after each layer, shape (runs, batch x
    places, width). Source: Depthwise transfer, the authors' program, with a mean for their class
    token, heads of one width, an MLP that grows with the width, and a matrix after attention."""
    side = math.isqrt(inputs or 0) // net.patch
    places, size = side**2, net.patch
    bias = (Vector("norm:last", net.width, 0.0),) if net.bias else ()
    stem: tuple[Layer, ...] = (
        Linear("input", size**2, net.width, places),
        *bias,
        Linear("embed", places, net.width, places),
    )
    layer, top = transformer_layer(net, places), last_norm(net)
    layers = (*stem, *net.depth * layer, *top, Linear("readout", net.width, outputs))

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        runs, batch, _ = x.shape
        stream = apply(0, patches(x, size))
        if net.bias:
            stream = apply(1, stream)
        where = torch.arange(places, device=x.device).expand(runs, batch, places)
        stream, units = stream + apply(len(stem) - 1, where), []
        for first in range(len(stem), len(stem) + net.depth * len(layer), len(layer)):
            stream = through(net, apply, first, branch, stream, places, causal=False)
            units.append(stream)
        seen = finished(net, apply, len(layers) - 1 - len(top), stream)
        seen = seen.reshape(runs, batch, places, -1).mean(2)
        return apply(len(layers) - 1, seen), units

    return layered(net, layers, forward, len(stem), places, causal=False)
