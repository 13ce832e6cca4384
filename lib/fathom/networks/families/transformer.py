"""The layer of a transformer: attention and an MLP four times as wide, as branches of a stream.

Norms stand before the branches (pre: x + f(LN x)), after the additions (post: LN(x + f(x))) or
nowhere. In a parallel layer both branches see the same stream and are added at once. Scores of
attention are divided by the width of a head (muP).
"""

from collections.abc import Callable, Iterator

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fathom.networks.layers import (
    Apply,
    Layer,
    Linear,
    Model,
    Vector,
    layer_norm,
    nonlinearity,
)
from fathom.spec import HEAD, Net

MATRICES = (  # of a layer: role, then fan-in and fan-out in widths
    *3 * [("block:1", 1, 1)],
    ("block:2", 1, 1),
    ("block:1", 1, 4),
    ("block:2", 4, 1),
)
QUERY, KEY, VALUE, MIX, UP, DOWN = range(6)
Forward = Callable[[Apply, Tensor, Tensor], tuple[Tensor, list[Tensor]]]


def _extras(net: Net) -> Iterator[tuple[str, Vector]]:
    """The vectors of a layer, by name."""
    width = net.width
    if net.bias:
        for i, (_, _, wide) in enumerate(MATRICES):
            yield f"bias {i}", Vector("bias", wide * width, 0.0)
    for branch in ("attention", "mlp"):
        if net.affine and not (net.parallel and branch == "mlp"):
            yield f"gain {branch}", Vector("norm", width, 1.0)
            yield f"shift {branch}", Vector("norm", width, 0.0)
        if net.layer_scale is not None:
            yield f"scale {branch}", Vector("norm", width, net.layer_scale)


def transformer_layer(net: Net, places: int) -> tuple[Layer, ...]:
    """The weights of a layer that sees so many places of each example."""
    width = net.width
    matrices = [Linear(role, a * width, b * width, places) for role, a, b in MATRICES]
    return (*matrices, *(vector for _, vector in _extras(net)))


def last_norm(net: Net) -> tuple[Layer, ...]:
    """The gain and bias of the norm before the read-out, where there are such."""
    if not net.affine or net.placement != "pre":
        return ()
    return Vector("norm:last", net.width, 1.0), Vector("norm:last", net.width, 0.0)


def through(
    net: Net, apply: Apply, first: int, branch: Tensor, stream: Tensor, places: int, causal: bool
) -> Tensor:
    """The stream (runs, batch x places, width) behind the layer that begins with `first`."""
    at = {name: first + len(MATRICES) + i for i, (name, _) in enumerate(_extras(net))}
    phi, (runs, _, width) = nonlinearity(net.phi), stream.shape

    def matrix(i: int, h: Tensor) -> Tensor:
        h = apply(first + i, h)
        return apply(at[f"bias {i}"], h) if net.bias else h

    def norm(h: Tensor, name: str) -> Tensor:
        h = layer_norm(h)
        return apply(at[f"shift {name}"], apply(at[f"gain {name}"], h)) if net.affine else h

    def attention(h: Tensor) -> Tensor:
        size = (-1, places, width // HEAD, HEAD)
        q, k, v = (matrix(i, h).reshape(size).transpose(1, 2) for i in (QUERY, KEY, VALUE))
        mixed = scaled_dot_product_attention(q, k, v, is_causal=causal, scale=1 / HEAD)
        return scaled("attention", matrix(MIX, mixed.transpose(1, 2).reshape(runs, -1, width)))

    def mlp(h: Tensor) -> Tensor:
        return scaled("mlp", matrix(DOWN, phi(matrix(UP, h))))

    def scaled(name: str, h: Tensor) -> Tensor:
        return apply(at[f"scale {name}"], h) if net.layer_scale is not None else h

    def around(stream: Tensor, name: str, *branches: Callable[[Tensor], Tensor]) -> Tensor:
        h = norm(stream, name) if net.placement == "pre" else stream
        for one in branches:
            stream = stream + branch * one(h)
        return norm(stream, name) if net.placement == "post" else stream

    if net.parallel:
        return around(stream, "attention", attention, mlp)
    return around(around(stream, "attention", attention), "mlp", mlp)


def finished(net: Net, apply: Apply, first: int, stream: Tensor) -> Tensor:
    """The stream as the read-out sees it; `first` is the first layer of its norm."""
    if net.placement != "pre":
        return stream
    h = layer_norm(stream)
    return apply(first + 1, apply(first, h)) if net.affine else h


def layered(
    net: Net, layers: tuple[Layer, ...], forward: Forward, first: int, places: int, causal: bool
) -> Model:
    """The model of a transformer whose layers begin with `first`. Its pre-activations are those of
    the MLPs, its blocks whole layers, with the branch factor."""
    size = len(transformer_layer(net, places))
    blocks = tuple(range(first, first + net.depth * size, size))

    def one(apply: Apply, branch: Tensor, k: int, stream: Tensor) -> Tensor:
        return through(net, apply, blocks[k], branch, stream, places, causal) - stream

    return Model(layers, forward, tuple(i + UP for i in blocks), blocks, one)
