"""What the compiled kernels of a transformer are handed: a net, weights, and room for a batch."""

from typing import NamedTuple

import numpy as np

from fathom.spec.net import HEAD


class LmNetwork(NamedTuple):
    """The factor on a branch, and for each part of LmWeights its multiplier, its rate and Adam's
    epsilon, and what of a weight is taken off it in a step at full rate."""

    branch: np.float32
    adam: bool
    mult: np.ndarray
    rate: np.ndarray
    eps: np.ndarray
    shrink: np.ndarray


class LmWeights(NamedTuple):
    """Embeddings of tokens (tokens, width) and places (context, width); of all layers, queries,
    keys and values side by side (depth, width, 3 width), what takes their mixture back, up to the
    hidden units and down from them; the read-out."""

    embed: np.ndarray
    places: np.ndarray
    qkv: np.ndarray
    mix: np.ndarray
    up: np.ndarray
    down: np.ndarray
    readout: np.ndarray

    def zeros(self) -> "LmWeights":
        return LmWeights(*(np.zeros_like(part) for part in self))


class LmBuffers(NamedTuple):
    """Where one batch is computed, a row for each token of its texts. Kept for the way back: the
    input of every branch and of the read-out normalised, and the factors of that; queries, keys
    and values; the attention of every head, [key, query]; mixtures; hidden units, and the slope of
    phi at each. Then the stream, later its gradient; the scores or probabilities of the next token;
    gradients of the weights of one layer; and spare room."""

    normed: np.ndarray
    scale: np.ndarray
    qkv: np.ndarray
    attention: np.ndarray
    mixed: np.ndarray
    hidden: np.ndarray
    slope: np.ndarray
    stream: np.ndarray
    outputs: np.ndarray
    gradients: LmWeights
    inner: np.ndarray
    spare: np.ndarray
    turned: np.ndarray
    wide: np.ndarray
    scores: np.ndarray
    row: np.ndarray
    sums: np.ndarray
    means: np.ndarray
    even: np.ndarray


def lm_buffers(weights: LmWeights, texts: int) -> LmBuffers:
    """Buffers for so many texts at once."""
    (context, width), outputs, depth = (
        weights.places.shape,
        weights.readout.shape[1],
        len(weights.qkv),
    )
    rows, heads = texts * context, texts * (width // HEAD)

    def empty(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    return LmBuffers(
        normed=empty(2 * depth + 1, rows, width),
        scale=empty(2 * depth + 1, rows),
        qkv=empty(depth, rows, 3 * width),
        attention=empty(depth, heads, context, context),
        mixed=empty(depth, rows, width),
        hidden=empty(depth, rows, 4 * width),
        slope=empty(depth, rows, 4 * width),
        stream=empty(rows, width),
        outputs=empty(rows, outputs),
        gradients=LmWeights(*(empty(*part.shape[-2:]) for part in weights)),
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
