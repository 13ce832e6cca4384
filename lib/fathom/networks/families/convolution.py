"""What networks of convolutions have in common: a convolution with its bias and its norm."""

import math

from torch import Tensor

from fathom.networks.layers import Apply, Conv, Layer, Vector, standardise
from fathom.spec import Net


def sides_of(net: Net, inputs: int | None) -> list[int]:
    """Pixels a side that each stage of a network sees of images of so many pixels."""
    return net.sides(math.isqrt(inputs or 0))


def convolution(
    net: Net, role: str, channels: int, width: int, side: int, stride: int = 1, norm: bool = True
) -> tuple[Layer, ...]:
    """The layers of a convolution of images: itself, its bias and its norm's gain and bias, each
    where a net has it; `side` is that of what it gives."""
    inside = role.startswith("block")
    layers: list[Layer] = [
        Conv(
            role,
            channels * net.kernel**2,
            width,
            net.kernel,
            side**2,
            stride,
            net.padding == "circular",
        )
    ]
    if net.bias:
        layers.append(Vector("bias" if inside else "norm:last", width, 0.0))
    if net.affine and norm:
        role = "norm" if inside else "norm:last"
        layers += [Vector(role, width, 1.0), Vector(role, width, 0.0)]
    return tuple(layers)


def convolved(net: Net, apply: Apply, first: int, h: Tensor, norm: bool = True) -> Tensor:
    """Images behind the convolution whose layers begin with `first`."""
    h = apply(first, h)
    after = first + 1 + net.bias
    if net.bias:
        h = apply(first + 1, h)
    if norm and net.norm != "none":
        h = standardise(h, net.norm)
        if net.affine:
            h = apply(after + 1, apply(after, h))
    return h
