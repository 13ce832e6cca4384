"""The residual network of convolutions: a stem, stages of branches, a read-out.

In each stage x = x + branch F(x) with F(x) = W * phi(x) in order pre (Depthwise transfer, and its
authors' program) or phi(W * x) in order post (arXiv 2602.07494). Block depth 2 repeats the
convolution inside F; a norm stands after each.
"""

from torch import Tensor

from fathom.networks.families.convolution import convolution, convolved, sides_of
from fathom.networks.layers import Apply, Layer, Linear, Model, along, halved, images, nonlinearity
from fathom.spec import Net


def resconv(net: Net, inputs: int | None, outputs: int) -> Model:
    """`depth` branches in equal stages. Units: the stream after each branch, as images.

    Three stages: a stem of stride 2, then each stage ends with a maximum over 2 x 2 pixels and all
    but the last with a convolution to twice the channels; the read-out sees every pixel of the
    last. One stage: a stem of stride 1, and a read-out of the mean over pixels. Source:
    Depthwise transfer, the authors' program; arXiv 2602.07494, section 4.
    """
    staged, phi = net.stages > 1, nonlinearity(net.phi)
    sides = sides_of(net, inputs)
    numbers = [""] if net.block_depth == 1 else [":1", ":2"]
    stem = convolution(net, "input", 1, net.width, sides[0], 2 if staged else 1, norm=False)
    layers: list[Layer] = [*stem]
    plan: list[tuple[str, int]] = []  # what comes after the stem: its kind and its first layer
    width = net.width
    for stage, side in enumerate(sides):
        if stage:
            plan.append(("transition", len(layers)))
            layers += convolution(net, "transition", width, 2 * width, side, norm=False)
            width *= 2
        for _ in range(net.depth // net.stages):
            plan.append(("branch", len(layers)))
            for number in numbers:
                layers += convolution(net, "block" + number, width, width, side)
        if staged:
            plan.append(("halve", len(layers)))
    last = (-(-sides[-1] // 2)) ** 2 if staged else 1
    layers.append(Linear("readout", width * last, outputs))
    each = len(convolution(net, "block", 1, 1, 1))

    def inside(apply: Apply, first: int, h: Tensor) -> Tensor:
        for i in range(first, first + each * net.block_depth, each):
            pre = net.order == "pre"
            h = convolved(net, apply, i, phi(h)) if pre else phi(convolved(net, apply, i, h))
        return h

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        stream, units = convolved(net, apply, 0, images(x), norm=False), []
        factor = along(branch, stream)
        for kind, first in plan:
            if kind == "branch":
                stream = stream + factor * inside(apply, first, stream)
                units.append(stream)
            elif kind == "halve":
                stream = halved(stream)
            else:
                stream = convolved(net, apply, first, stream, norm=False)
        rows = stream.flatten(2) if staged else stream.mean((3, 4))
        return apply(len(layers) - 1, rows), units

    blocks = tuple(first for kind, first in plan if kind == "branch")

    def one(apply: Apply, branch: Tensor, k: int, stream: Tensor) -> Tensor:
        del branch
        return inside(apply, blocks[k], stream)

    return Model(tuple(layers), forward, blocks, blocks, one)
