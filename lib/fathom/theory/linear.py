"""The infinite-width limit of a linear residual network under SGD, at finite depth.

At infinite width every coordinate of a layer's vector is an independent copy of one random
variable, its ket, and every ket is a linear combination of few base variables: the columns
of the input and output matrices U and nV, and for each block, step and sample a forward
Gaussian g (what the block's initial matrix makes of its input) and a backward Gaussian b
(what its transpose makes of the gradient). The program below keeps those coefficients.
Source: arXiv 2310.02244, Program 1 and Lemma 4.3; `Gamma` there is sqrt(depth) times the
coefficients here, `C` is the kernels.

Arrays have axes in the order layers, kets, coefficients; a ket is numbered
step * batch + sample. Side 0 is forward (the stream x), side 1 backward (its gradient).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

Array = NDArray[np.float64]
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIZES = (
    *("rms_input", "rms_quarter", "rms_half", "rms_three_quarters", "rms_last", "rms_output"),
    "correlation",
)
FORWARD, BACKWARD = 0, 1


def _square(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Half the squared error of each sample, and its gradient."""
    return ((outputs - targets) ** 2).sum(axis=-1) / 2, outputs - targets


def _cross_entropy(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """The cross-entropy of each sample, targets being probabilities, and its gradient."""
    log = log_softmax(outputs, axis=-1)
    return -(targets * log).sum(axis=-1), np.exp(log) * targets.sum(-1, keepdims=True) - targets


LOSSES: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "square": _square,
    "cross_entropy": _cross_entropy,
}


class Trajectory(NamedTuple):
    """What an infinite network does over its first steps.

    outputs (steps, batch, outputs): f before each step's update; losses (steps,): batch mean.
    stream, gradient (depth + 1, kets, kets): inner products <x_s^l|x_t^l>, and those of the
    gradients n dloss/dx^l. kets: stream and gradient in base variables, each of shape
    (depth + 1, kets, coefficients); U and nV have covariance 1, g and b have `covariance`
    (kets, kets, 2, depth).
    """

    outputs: Array
    losses: Array
    stream: Array
    gradient: Array
    kets: tuple[Array, Array]
    covariance: Array


class Program:
    """Every ket so far in coefficients over base variables, in the order in which they are made:
    first `ends` columns of U and nV, then for each ket g of every block and b of every block.
    """

    def __init__(self, depth: int, inputs: Array, targets: Array) -> None:
        steps, self.batch, self.reads = inputs.shape
        self.depth, self.ends = depth, self.reads + targets.shape[2]
        size = steps * self.batch
        shape = (depth + 1, size, self.ends + 2 * depth * size)
        self.kets = (np.zeros(shape), np.zeros(shape))  # untouched zeros take no memory
        self.kernels = (np.zeros((depth + 1, size, size)), np.zeros((depth + 1, size, size)))
        self.covariance = np.zeros((size, size, 2, depth))

    def rows(self, step: int) -> tuple[slice, int]:
        """The kets of a step, and how many there are when it is done."""
        seen = (step + 1) * self.batch
        return slice(seen - self.batch, seen), seen

    def start(self, inputs: Array, step: int) -> None:
        """Write the stream before the first block: x^0 = U xi."""
        self.kets[FORWARD][0, self.rows(step)[0], : self.reads] = inputs

    def outputs(self, step: int) -> Array:
        """The coefficients of nV in the last layer, (batch, outputs): what V reads off it."""
        return self.kets[FORWARD][-1, self.rows(step)[0], self.reads : self.ends]

    def turn(self, errors: Array, step: int) -> None:
        """Write the gradient after the last block: V times the loss's gradient."""
        self.kets[BACKWARD][-1, self.rows(step)[0], self.reads : self.ends] = errors

    def measure(self, side: int, layer: int, step: int) -> Array:
        """The inner products of a step's kets with all up to it, (batch, seen), and keep them."""
        new, seen = self.rows(step)
        known = self.kets[side][layer, :seen, : self.ends + 2 * self.depth * seen]
        dual = duals(known[new], self.covariance[:seen, :seen], self.ends)
        found = dual @ known.T
        self.kernels[side][layer, new, :seen] = found
        self.kernels[side][layer, :seen, new] = found.T
        return found

    def vary(self, side: int, block: int, covariance: Array, step: int) -> None:
        """Record the covariance, (batch, seen), of a block's new base variables with all so far."""
        new, seen = self.rows(step)
        self.covariance[new, :seen, side, block] = covariance
        self.covariance[:seen, new, side, block] = covariance.T

    def response(self, side: int, block: int, step: int) -> Array:
        """The coefficients of a block's base variables of the other side, (batch, seen), in
        what enters the block: beta of section 5.3."""
        new, seen = self.rows(step)
        here = self.kets[side][block + side, new]
        at = self.ends + block + self.depth * (2 * np.arange(seen) + 1 - side)
        return here[:, at]

    def write(self, side: int, block: int, weights: Array, scale: float, step: int) -> None:
        """Pass a block: add scale times (its new base variables plus `weights`, (batch, any),
        times the first kets of the other side)."""
        new, seen = self.rows(step)
        width = self.ends + 2 * self.depth * seen
        before, after = block + side, block + 1 - side
        others = self.kets[1 - side][after, : weights.shape[1], :width]
        found = self.kets[side][before, new, :width] + scale * (weights @ others)
        fresh = self.ends + block + self.depth * (2 * np.arange(new.start, seen) + side)
        found[np.arange(self.batch), fresh] += scale
        self.kets[side][after, new, :width] = found


def duals(kets: Array, covariance: Array, ends: int) -> Array:
    """The covariance of kets (any, coefficients) with each base variable, same shape."""
    size, _, sides, depth = covariance.shape
    base = kets[:, ends:].reshape(len(kets), size, sides, depth)
    found = np.empty(kets.shape)
    found[:, :ends] = kets[:, :ends]
    np.einsum("qskl,srkl->qrkl", base, covariance, out=found[:, ends:].reshape(base.shape))
    return found


def linear(
    inputs: ArrayLike,
    targets: ArrayLike,
    depth: int,
    *,
    alpha: float = 0.5,
    gamma: float = 0.5,
    a: float = 1.0,
    eta: float = 1.0,
    loss: str = "square",
) -> Trajectory:
    """The first steps of SGD in the infinite-width linear residual network, exactly.

    x^0 = U xi, x^l = x^{l-1} + a depth^-alpha W^l x^{l-1}, f = V^T x^L; only W is trained,
    at the rate eta depth^(alpha - gamma) on the batch mean of the loss; W starts with
    variance 1/n, U with 1 and V with 1/n^2. inputs (steps, batch, inputs) and targets
    (steps, batch, outputs) are one batch per step; the last step only predicts.

    alpha: exponent of depth in the blocks' multiplier. gamma: exponent of depth in the
    size of a weight's update. a: the multiplier at depth 1. eta: the learning rate at
    depth 1. (1/2, 1/2) is Depth-muP, (1, 0) the neural ODE. Memory grows as
    2 (steps batch depth)^2 numbers. Raises ValueError if shapes, depth or loss are wrong.

    Source: arXiv 2310.02244, Program 1, Lemma 4.3 and appendix D.3 (general exponents).
    """
    xi, y = check(inputs, targets, depth, loss)
    program, outputs, losses = Program(depth, xi, y), np.zeros(y.shape), np.zeros(len(y))
    scale, rate = a * depth**-alpha, eta * a * depth**-gamma
    for step in range(len(xi)):
        program.start(xi[step], step)
        for block in range(depth):
            _block(program, FORWARD, block, scale, rate, step)
        program.measure(FORWARD, depth, step)
        outputs[step] = program.outputs(step)
        each, errors = LOSSES[loss](outputs[step], y[step])
        losses[step] = each.mean()
        program.turn(errors / len(each), step)
        for block in reversed(range(depth)):
            _block(program, BACKWARD, block, scale, rate, step)
        program.measure(BACKWARD, 0, step)
    return trajectory(program, outputs, losses)


def _block(program: Program, side: int, block: int, scale: float, rate: float, step: int) -> None:
    """Pass one block forward or backward: section 5.3's loop body."""
    kernel = program.measure(side, block + side, step)
    program.vary(side, block, kernel, step)
    past = step * program.batch
    weights = program.response(side, block, step)[:, :past] - rate * kernel[:, :past]
    program.write(side, block, weights, scale, step)


def trajectory(program: Program, outputs: Array, losses: Array) -> Trajectory:
    """What a finished program leaves."""
    return Trajectory(outputs, losses, *program.kernels, program.kets, program.covariance)


def check(inputs: ArrayLike, targets: ArrayLike, depth: int, loss: str) -> tuple[Array, Array]:
    """The data as float64 arrays, or a ValueError that says what to change."""
    xi, y = np.asarray(inputs, dtype=float), np.asarray(targets, dtype=float)
    if xi.ndim != 3 or y.ndim != 3 or xi.shape[:2] != y.shape[:2] or 0 in xi.shape + y.shape:
        raise ValueError(
            "inputs and targets must have shapes (steps, batch, inputs) and (steps, batch, "
            f"outputs) with the same steps and batch, not {xi.shape} and {y.shape}"
        )
    if int(depth) != depth or depth < 1:
        raise ValueError(f"depth must be a whole number of blocks, at least 1, not {depth}")
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {loss}")
    return xi, y


def _layers(found: Trajectory, places: ArrayLike) -> NDArray[np.int64]:
    """The layers floor(place depth) of places in [0, 1]."""
    at = np.atleast_1d(np.asarray(places, dtype=float))
    if (at < 0).any() or (at > 1).any():
        raise ValueError(f"a place in depth must lie between 0 and 1, not {at.tolist()}")
    return np.floor(at * (len(found.stream) - 1) + 1e-9).astype(np.int64)


def stream_rms(found: Trajectory, places: ArrayLike = QUARTERS) -> Array:
    """RMS of the stream x_t^l at the layers floor(place depth), (steps, batch, places)."""
    kernel = found.stream[_layers(found, places)]
    squares = np.diagonal(kernel, axis1=1, axis2=2).T
    return np.sqrt(squares).reshape(*found.outputs.shape[:2], -1)


def layer_sizes(found: Trajectory) -> dict[str, float]:
    """What `fathom.measurement.layer_sizes` measures, in the limit, at the last step: root mean
    squares over batch and neurons at the quarters of the depth and of the outputs, and the
    correlation of the last layer with that at the first step, for the batch's first sample.
    Source: arXiv 2310.02244, Figures 8 and 9."""
    squares = (stream_rms(found)[-1] ** 2).mean(axis=0)
    kernel = output_kernel(found)[:, 0, :, 0]
    rms = [*np.sqrt(squares), np.sqrt((found.outputs[-1] ** 2).mean())]
    correlation = kernel[0, -1] / np.sqrt(kernel[0, 0] * kernel[-1, -1])
    return dict(zip(SIZES, map(float, [*rms, correlation]), strict=True))


def output_kernel(found: Trajectory) -> Array:
    """<x_s^L|x_t^L>, (steps, batch, steps, batch): the covariance of the Gaussian process
    that the last layer is over steps. Source: arXiv 2310.02244, Theorem 4.1."""
    return found.stream[-1].reshape(2 * found.outputs.shape[:2])


def distances(found: Trajectory, gaps: ArrayLike, place: float = 0.5) -> Array:
    """d(eps) = |x_t^{(place + eps) depth} - x_t^{place depth}| / sqrt(n), (steps, batch, gaps).

    gaps are the eps; its log-log slope is 1 - kappa, kappa being the feature diversity
    exponent (1/2 at Depth-muP, 0 where layers are redundant). Source: arXiv 2310.02244,
    Definition of kappa in section 7 and Figs. 17 to 19.
    """
    (start,), ends = _layers(found, place), _layers(found, place + np.atleast_1d(gaps))
    size, _, sides, depth = found.covariance.shape
    stream, squares = found.kets[FORWARD], []
    columns = stream.shape[2] - size * sides * depth
    for end in ends:
        way = stream[end] - stream[start]
        squares.append((way * duals(way, found.covariance, columns)).sum(axis=1))
    return np.sqrt(squares).T.reshape(*found.outputs.shape[:2], len(ends))


def tidy(values: Array, **points: Sequence[float]) -> dict[str, NDArray[Any]]:
    """One row per entry of (steps, batch, points) values, as columns for a table: step,
    sample, the one keyword's name (its points along the last axis) and value."""
    ((name, along),) = points.items()
    step, sample, point = np.indices(values.shape).reshape(3, -1)
    found = {"step": step, "sample": sample, name: np.asarray(along)[point]}
    return found | {"value": values.ravel()}
