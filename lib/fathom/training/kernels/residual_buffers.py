"""What the compiled kernels of residual MLPs and chains are handed: a net, weights, and room for
one batch."""

from typing import NamedTuple

import numpy as np

STRAIGHT, TANH, GELU = range(3)


class Network(NamedTuple):
    """What distinguishes one network from another: whether phi is TANH, GELU or STRAIGHT on both
    sides of 0, then with slope `left` of it and 1 right of it, `pre` or post order, `keep` 1 or 0
    (a stream, or a chain), mean subtraction, layer norm, whether the ends learn, and one
    multiplier, rate and Adam epsilon per layer."""

    curve: int
    left: np.float32
    pre: bool
    keep: np.float32
    center: bool
    norm: bool
    ends: bool
    adam: bool
    block_depth: int
    branch: np.float32
    mult: np.ndarray
    rate: np.ndarray
    eps: np.ndarray


class Weights(NamedTuple):
    """One array each for stem (inputs, width), blocks (matrices, width, width) and read-out
    (width, outputs); also what Adam remembers of them."""

    stem: np.ndarray
    blocks: np.ndarray
    readout: np.ndarray

    def zeros(self) -> "Weights":
        return Weights(*(np.zeros_like(part) for part in self))


class Buffers(NamedTuple):
    """Where one batch is computed: its examples, the stream after each block, the same
    normalised and the factors of that, the input of each matrix, the slope of phi beside it (and
    last the read-out's), the outputs, gradients on the stream and inside a branch, a spare, the
    gradients of the weights, the means of the rows of one of these, and a column of 1/width that
    gives them."""

    batch: np.ndarray
    stream: np.ndarray
    normed: np.ndarray
    scale: np.ndarray
    inputs: np.ndarray
    slopes: np.ndarray
    outputs: np.ndarray
    down: np.ndarray
    inner: np.ndarray
    spare: np.ndarray
    gradients: Weights
    means: np.ndarray
    even: np.ndarray


def buffers(weights: Weights, batch: int, block_depth: int, norm: bool) -> Buffers:
    """Buffers for a batch of so many examples."""
    (inputs, width), outputs = weights.stem.shape, weights.readout.shape[1]
    matrices = len(weights.blocks)
    blocks = matrices // block_depth
    normed = blocks if norm else 0

    def empty(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    return Buffers(
        batch=empty(batch, inputs),
        stream=empty(blocks + 1, batch, width),
        normed=empty(normed, batch, width),
        scale=empty(normed, batch),
        inputs=empty(matrices, batch, width),
        slopes=empty(matrices + 1, batch, width),
        outputs=empty(batch, outputs),
        down=empty(batch, width),
        inner=empty(batch, width),
        spare=empty(batch, width),
        gradients=Weights(empty(inputs, width), empty(width, width), empty(width, outputs)),
        means=empty(batch, 1),
        even=np.full((width, 1), 1 / width, np.float32),
    )
