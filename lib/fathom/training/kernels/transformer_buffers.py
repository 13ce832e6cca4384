"""What the compiled kernels of a transformer are handed: a net, weights, and room for a batch."""

from typing import NamedTuple

import numpy as np

from fathom.spec.net import HEAD

PRE, POST, NONE = range(3)


class TransformerNetwork(NamedTuple):
    """Whether it sees images, of which every place sees all others, or texts; where its norms
    stand (PRE, POST or NONE), and whether a layer's two branches are added at once; the factor on
    a branch; and for each part of TransformerWeights its multiplier, its rate and Adam's epsilon,
    and what of a weight is taken off it in a step at full rate."""

    images: bool
    placement: int
    parallel: bool
    branch: np.float32
    adam: bool
    mult: np.ndarray
    rate: np.ndarray
    eps: np.ndarray
    shrink: np.ndarray


class TransformerWeights(NamedTuple):
    """Embeddings of tokens (tokens, width), or a matrix on patches (pixels, width), and embeddings
    of places (context, width); of all layers, queries, keys and values side by side (depth, width,
    3 width), what takes their mixture back, up to the hidden units and down from them; the
    read-out; the gains of both branches (depth, 2, width), none where there is no LayerScale."""

    embed: np.ndarray
    places: np.ndarray
    qkv: np.ndarray
    mix: np.ndarray
    up: np.ndarray
    down: np.ndarray
    readout: np.ndarray
    gains: np.ndarray

    def zeros(self) -> "TransformerWeights":
        return TransformerWeights(*(np.zeros_like(part) for part in self))


class TransformerBuffers(NamedTuple):
    """Where one batch is computed, a row for each place of its texts or images. Kept for the way
    back: what every branch and the read-out see, and the factors of its norm; queries, keys
    and values; the attention of every head, [key, query]; mixtures; hidden units, and the slope of
    phi at each; of LayerScale, the last matrix of each branch times its gains. Then the stream,
    later its gradient; the mean of an image's places, later its gradient; the scores or
    probabilities of the next token or of a class; gradients of the weights of one layer; and spare
    room."""

    normed: np.ndarray
    scale: np.ndarray
    qkv: np.ndarray
    attention: np.ndarray
    mixed: np.ndarray
    hidden: np.ndarray
    slope: np.ndarray
    mix: np.ndarray
    down: np.ndarray
    stream: np.ndarray
    pooled: np.ndarray
    outputs: np.ndarray
    gradients: TransformerWeights
    inner: np.ndarray
    spare: np.ndarray
    turned: np.ndarray
    wide: np.ndarray
    scores: np.ndarray
    row: np.ndarray
    sums: np.ndarray
    means: np.ndarray
    even: np.ndarray


def transformer_buffers(
    net: TransformerNetwork, weights: TransformerWeights, batch: int
) -> TransformerBuffers:
    """Buffers for so many texts or images at once."""
    (context, width), outputs = weights.places.shape, weights.readout.shape[1]
    depth, gained = len(weights.qkv), len(weights.gains)
    rows, heads = batch * context, batch * (width // HEAD)
    seen = (1 if net.parallel else 2) * depth + 1

    def empty(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    return TransformerBuffers(
        normed=empty(seen, rows, width),
        scale=empty(seen, rows),
        qkv=empty(depth, rows, 3 * width),
        attention=empty(depth, heads, context, context),
        mixed=empty(depth, rows, width),
        hidden=empty(depth, rows, 4 * width),
        slope=empty(depth, rows, 4 * width),
        mix=empty(gained, width, width),
        down=empty(gained, 4 * width, width),
        stream=empty(rows, width),
        pooled=empty(batch if net.images else 0, width),
        outputs=empty(batch if net.images else rows, outputs),
        gradients=TransformerWeights(*(empty(*part.shape[-2:]) for part in weights)),
        inner=empty(rows, width),
        spare=empty(rows, width),
        turned=empty(rows, 3 * width),
        wide=empty(rows, 4 * width),
        scores=empty(context, context),
        row=empty(context),
        sums=empty(context),
        means=empty(rows, 1),
        even=np.full((width, 1), 1 / width, np.float32),
    )
