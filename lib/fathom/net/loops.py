"""The hot family in compiled loops: residual MLPs and chains with a kink at 0 or none.

One run at a time, so that its weights and moments stay in a core's cache. The backward pass
is written out, and each layer learns as soon as its gradient is known. Autograd gives the
same gradients (tested); what is not covered here is trained by it (eager.py).

Both families are one network: a stem, blocks of matrices, a read-out. In order pre a matrix
acts on phi of its input, in order post phi acts on what the matrix gives. A chain is the
order pre with no stream to add to.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from fathom.net.blas import product

FAST = {"contract", "reassoc", "nsz"}  # infinities and NaN keep their meaning
ONE, ZERO = np.float32(1), np.float32(0)
BETA_1, BETA_2 = 0.9, 0.999


class Plan(NamedTuple):
    """What distinguishes one network from another: `left` and `right` slopes of phi,
    `pre` or post order, `keep` 1 or 0 (the stream, or a chain), mean subtraction, and one
    multiplier, rate and Adam epsilon per layer."""

    left: np.float32
    right: np.float32
    pre: bool
    keep: np.float32
    center: bool
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


class Room(NamedTuple):
    """Where one batch is computed: its examples, the stream after each block, the input of
    each matrix and what phi is applied to, the outputs, gradients on the stream and inside
    a branch, a spare, and the gradients of the weights."""

    batch: np.ndarray
    stream: np.ndarray
    inputs: np.ndarray
    before: np.ndarray
    outputs: np.ndarray
    down: np.ndarray
    inner: np.ndarray
    spare: np.ndarray
    gradients: Weights


def room(weights: Weights, batch: int, block_depth: int) -> Room:
    """Room for a batch of so many examples."""
    (inputs, width), outputs = weights.stem.shape, weights.readout.shape[1]
    matrices = len(weights.blocks)

    def empty(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    return Room(
        batch=empty(batch, inputs),
        stream=empty(matrices // block_depth + 1, batch, width),
        inputs=empty(matrices, batch, width),
        before=empty(matrices, batch, width),
        outputs=empty(batch, outputs),
        down=empty(batch, width),
        inner=empty(batch, width),
        spare=empty(batch, width),
        gradients=Weights(empty(inputs, width), empty(width, width), empty(width, outputs)),
    )


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _bend(plan: Plan, z: np.ndarray, out: np.ndarray) -> None:
    """out = phi(z)."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            out[i, j] = z[i, j] * (plan.right if z[i, j] > ZERO else plan.left)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _unbend(plan: Plan, z: np.ndarray, g: np.ndarray, keep: np.float32, out: np.ndarray) -> None:
    """out = keep out + phi'(z) g."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            slope = plan.right if z[i, j] > ZERO else plan.left
            out[i, j] = keep * out[i, j] + slope * g[i, j]


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _join(plan: Plan, stream: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
    """out = keep stream + branch (z - mean), or of phi(z) in order post."""
    left, right = (ONE, ONE) if plan.pre else (plan.left, plan.right)
    for i in range(z.shape[0]):
        mean = ZERO
        if plan.center:
            for j in range(z.shape[1]):
                mean += z[i, j] * (right if z[i, j] > ZERO else left)
            mean /= np.float32(z.shape[1])
        for j in range(z.shape[1]):
            bent = z[i, j] * (right if z[i, j] > ZERO else left)
            out[i, j] = plan.keep * stream[i, j] + plan.branch * (bent - mean)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _part(plan: Plan, z: np.ndarray, down: np.ndarray, out: np.ndarray) -> None:
    """The gradient on a branch's last pre-activation or matrix, from that on the stream."""
    left, right = (ONE, ONE) if plan.pre else (plan.left, plan.right)
    for i in range(z.shape[0]):
        mean = ZERO
        if plan.center:
            for j in range(z.shape[1]):
                mean += down[i, j]
            mean /= np.float32(z.shape[1])
        for j in range(z.shape[1]):
            slope = plan.branch * (right if z[i, j] > ZERO else left)
            out[i, j] = slope * (down[i, j] - mean)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _learn(
    plan: Plan, layer: int, step: int,
    weight: np.ndarray, gradient: np.ndarray, first: np.ndarray, second: np.ndarray,
) -> None:  # fmt: skip
    """One SGD or Adam update of one layer, in place."""
    w, g, m, v = weight.ravel(), gradient.ravel(), first.ravel(), second.ravel()
    rate, eps = plan.rate[layer], plan.eps[layer]
    if not plan.adam:
        for i in range(w.size):
            w[i] -= rate * g[i]
        return
    unbias = np.float32(math.sqrt(1 - BETA_2 ** (step + 1)))
    move, eps = np.float32(rate * unbias / (1 - BETA_1 ** (step + 1))), eps * unbias
    for i in range(w.size):
        m[i] += np.float32(1 - BETA_1) * (g[i] - m[i])
        v[i] += np.float32(1 - BETA_2) * (g[i] * g[i] - v[i])
        w[i] -= move * m[i] / (np.sqrt(v[i]) + eps)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _forward(plan: Plan, weights: Weights, at: Room) -> None:
    size = plan.block_depth
    product(plan.mult[0], at.batch, False, weights.stem, False, ZERO, at.stream[0])
    for block in range(at.stream.shape[0] - 1):
        first, last = block * size, block * size + size - 1
        for i in range(first, last + 1):
            mult, weight = plan.mult[i + 1], weights.blocks[i]
            if plan.pre:
                _bend(plan, at.stream[block] if i == first else at.before[i], at.inputs[i])
                out = at.before[i + 1] if i < last else at.spare
                product(mult, at.inputs[i], False, weight, False, ZERO, out)
            else:
                inputs = at.stream[block] if i == first else at.inputs[i]
                product(mult, inputs, False, weight, False, ZERO, at.before[i])
                if i < last:
                    _bend(plan, at.before[i], at.inputs[i + 1])
        z = at.spare if plan.pre else at.before[last]
        _join(plan, at.stream[block], z, at.stream[block + 1])
    top = at.stream[-1]
    if plan.pre:
        _bend(plan, at.stream[-1], at.inner)
        top = at.inner
    product(plan.mult[-1], top, False, weights.readout, False, ZERO, at.outputs)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _backward(
    plan: Plan, step: int, weights: Weights, first_moment: Weights, second_moment: Weights, at: Room
) -> None:
    """From the gradient on the outputs down to the stem, every layer learning on the way."""
    size, blocks, last_layer = plan.block_depth, weights.blocks, plan.mult.size - 1
    mult, g = plan.mult[-1], at.gradients
    top = at.inner if plan.pre else at.stream[-1]
    product(mult, top, True, at.outputs, False, ZERO, g.readout)
    product(mult, at.outputs, False, weights.readout, True, ZERO, at.down)
    if plan.ends:
        m, v = first_moment.readout, second_moment.readout
        _learn(plan, last_layer, step, weights.readout, g.readout, m, v)
    if plan.pre:
        _unbend(plan, at.stream[-1], at.down, ZERO, at.down)
    for block in range(at.stream.shape[0] - 2, -1, -1):
        first, last = block * size, block * size + size - 1
        _part(plan, at.before[last], at.down, at.inner)
        for i in range(last, first - 1, -1):
            mult = plan.mult[i + 1]
            inputs = at.inputs[i] if plan.pre or i > first else at.stream[block]
            product(mult, inputs, True, at.inner, False, ZERO, g.blocks)
            if plan.pre:
                product(mult, at.inner, False, blocks[i], True, ZERO, at.spare)
                if i > first:
                    _unbend(plan, at.before[i], at.spare, ZERO, at.inner)
                else:
                    _unbend(plan, at.stream[block], at.spare, plan.keep, at.down)
            elif i > first:
                product(mult, at.inner, False, blocks[i], True, ZERO, at.spare)
                _unbend(plan, at.before[i - 1], at.spare, ZERO, at.inner)
            else:
                product(mult, at.inner, False, blocks[i], True, plan.keep, at.down)
            m, v = first_moment.blocks[i], second_moment.blocks[i]
            _learn(plan, i + 1, step, blocks[i], g.blocks, m, v)
    if plan.ends:
        product(plan.mult[0], at.batch, True, at.down, False, ZERO, g.stem)
        m, v = first_moment.stem, second_moment.stem
        _learn(plan, 0, step, weights.stem, g.stem, m, v)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _loss(outputs: np.ndarray, rows: np.ndarray, labels: np.ndarray, values: np.ndarray) -> float:
    """The mean loss over a batch; its gradient replaces the outputs. Cross-entropy, or half
    the squared error where there are values."""
    total, share = 0.0, ONE / np.float32(len(rows))
    for i, row in enumerate(rows):
        out = outputs[i]
        if len(values):
            for j in range(out.size):
                out[j] -= values[row, j]
                total += out[j] * out[j] / 2
                out[j] *= share
        else:
            top, mass = out.max(), 0.0
            for j in range(out.size):
                mass += math.exp(out[j] - top)
            total += top + math.log(mass) - out[labels[row]]
            for j in range(out.size):
                out[j] = share * np.float32(math.exp(out[j] - top) / mass)
            out[labels[row]] -= share
    return total / len(rows)


@njit(cache=True)
def learn(
    plan: Plan, weights: Weights, first: Weights, second: Weights, at: Room,
    x: np.ndarray, labels: np.ndarray, values: np.ndarray,
    order: np.ndarray, start: int, curve: np.ndarray,
) -> None:  # fmt: skip
    """Train on the batches of `order` (steps, batch), the first of which is step `start`;
    `curve` receives every step's loss. Weights and moments change in place."""
    for step in range(len(order)):
        for i, row in enumerate(order[step]):
            at.batch[i] = x[row]
        _forward(plan, weights, at)
        curve[step] = _loss(at.outputs, order[step], labels, values)
        _backward(plan, start + step, weights, first, second, at)


@njit(cache=True)
def loss(
    plan: Plan, weights: Weights, at: Room,
    x: np.ndarray, labels: np.ndarray, values: np.ndarray, rows: np.ndarray,
) -> float:  # fmt: skip
    """The mean loss on some rows of a task."""
    for i, row in enumerate(rows):
        at.batch[i] = x[row]
    _forward(plan, weights, at)
    return _loss(at.outputs, rows, labels, values)
