"""The hot family in compiled kernels: residual MLPs and chains.

One run at a time, so that its weights and moments stay in a core's cache. The backward pass
is written out, and each layer learns as soon as its gradient is known. Autograd gives the
same gradients (tested); what is not covered here is trained by it (autograd.py).

Both families are one network: a stem, blocks of matrices, a read-out. In order pre a matrix
acts on phi of its input, in order post phi acts on what the matrix gives. A chain is the
order pre with no stream to add to.
"""

import math

import numpy as np
from numba import njit

from fathom.training.kernels.operations import ONE, ZERO, normalise, product, unnormalise, update
from fathom.training.kernels.residual_buffers import GELU, TANH, Buffers, Network, Weights
from fathom.training.kernels.smooth import gelu, tanh


@njit(cache=True, error_model="numpy")
def _bend(net: Network, z: np.ndarray, out: np.ndarray, slope: np.ndarray) -> None:
    """out = phi(z), and slope = phi'(z); three buffers, none of them another."""
    for i in range(z.shape[0]):
        if net.curve == TANH:
            for j in range(z.shape[1]):
                out[i, j], slope[i, j] = tanh(z[i, j])
        elif net.curve == GELU:
            for j in range(z.shape[1]):
                out[i, j], slope[i, j] = gelu(z[i, j])
        else:
            for j in range(z.shape[1]):
                slope[i, j] = ONE if z[i, j] > ZERO else net.left
                out[i, j] = z[i, j] * slope[i, j]


@njit(cache=True, error_model="numpy")
def _unbend(slope: np.ndarray, g: np.ndarray, keep: np.float32, out: np.ndarray) -> None:
    """out = keep out + slope g."""
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            out[i, j] = keep * out[i, j] + slope[i, j] * g[i, j]


@njit(cache=True, error_model="numpy")
def _join(net: Network, stream: np.ndarray, z: np.ndarray, at: Buffers, out: np.ndarray) -> None:
    """out = keep stream + branch (z - mean)."""
    if net.center:
        product(ONE, z, False, at.even, False, ZERO, at.means)
    for i in range(z.shape[0]):
        mean = at.means[i, 0] if net.center else ZERO
        for j in range(z.shape[1]):
            out[i, j] = net.keep * stream[i, j] + net.branch * (z[i, j] - mean)


@njit(cache=True, error_model="numpy")
def _part(net: Network, slope: np.ndarray, down: np.ndarray, at: Buffers, out: np.ndarray) -> None:
    """The gradient on what a branch's last matrix gives, from that on the stream."""
    if net.center:
        product(ONE, down, False, at.even, False, ZERO, at.means)
    for i in range(down.shape[0]):
        mean = at.means[i, 0] if net.center else ZERO
        for j in range(down.shape[1]):
            bent = net.branch * (ONE if net.pre else slope[i, j])
            out[i, j] = bent * (down[i, j] - mean)


@njit(cache=True, error_model="numpy")
def _learn(
    net: Network, layer: int, step: int,
    weight: np.ndarray, gradient: np.ndarray, first: np.ndarray, second: np.ndarray,
) -> None:  # fmt: skip
    """One update of one layer, in place."""
    rate, eps = net.rate[layer], net.eps[layer]
    update(weight, gradient, first, second, net.adam, step, rate, eps)


@njit(cache=True, error_model="numpy")
def _forward(net: Network, weights: Weights, at: Buffers) -> None:
    size = net.block_depth
    product(net.mult[0], at.batch, False, weights.stem, False, ZERO, at.stream[0])
    for block in range(at.stream.shape[0] - 1):
        first, last = block * size, block * size + size - 1
        source = at.stream[block]
        if net.norm:
            source = at.normed[block]
            normalise(at.stream[block], at.even, at.means, at.spare, source, at.scale[block])
        for i in range(first, last + 1):
            mult, weight, slope = net.mult[i + 1], weights.blocks[i], at.slopes[i]
            if net.pre:
                _bend(net, source if i == first else at.spare, at.inputs[i], slope)
                product(mult, at.inputs[i], False, weight, False, ZERO, at.spare)
            else:
                inputs = source if i == first else at.inputs[i]
                product(mult, inputs, False, weight, False, ZERO, at.spare)
                _bend(net, at.spare, at.inputs[i + 1] if i < last else at.inner, slope)
        z = at.spare if net.pre else at.inner
        _join(net, at.stream[block], z, at, at.stream[block + 1])
    top = at.stream[-1]
    if net.pre:
        _bend(net, at.stream[-1], at.inner, at.slopes[-1])
        top = at.inner
    product(net.mult[-1], top, False, weights.readout, False, ZERO, at.outputs)


@njit(cache=True, error_model="numpy")
def _backward(
    net: Network,
    step: int,
    weights: Weights,
    first_moment: Weights,
    second_moment: Weights,
    at: Buffers,
) -> None:
    """From the gradient on the outputs down to the stem, every layer learning on the way."""
    size, blocks, last_layer = net.block_depth, weights.blocks, net.mult.size - 1
    mult, g = net.mult[-1], at.gradients
    top = at.inner if net.pre else at.stream[-1]
    product(mult, top, True, at.outputs, False, ZERO, g.readout)
    product(mult, at.outputs, False, weights.readout, True, ZERO, at.spare if net.pre else at.down)
    if net.ends:
        m, v = first_moment.readout, second_moment.readout
        _learn(net, last_layer, step, weights.readout, g.readout, m, v)
    if net.pre:
        _unbend(at.slopes[-1], at.spare, ZERO, at.down)
    for block in range(at.stream.shape[0] - 2, -1, -1):
        first, last = block * size, block * size + size - 1
        source = at.normed[block] if net.norm else at.stream[block]
        _part(net, at.slopes[last], at.down, at, at.inner)
        for i in range(last, first - 1, -1):
            mult = net.mult[i + 1]
            inputs = at.inputs[i] if net.pre or i > first else source
            product(mult, inputs, True, at.inner, False, ZERO, g.blocks)
            if i == first and not (net.pre or net.norm):
                product(mult, at.inner, False, blocks[i], True, net.keep, at.down)
            else:
                product(mult, at.inner, False, blocks[i], True, ZERO, at.spare)
                if i > first:
                    _unbend(at.slopes[i if net.pre else i - 1], at.spare, ZERO, at.inner)
                elif not net.norm:
                    _unbend(at.slopes[i], at.spare, net.keep, at.down)
                else:
                    into, free = at.spare, at.inner
                    if net.pre:
                        _unbend(at.slopes[i], into, ZERO, free)
                        into, free = free, into
                    scale = at.scale[block]
                    unnormalise(source, scale, into, at.even, at.means, free, at.down)
            m, v = first_moment.blocks[i], second_moment.blocks[i]
            _learn(net, i + 1, step, blocks[i], g.blocks, m, v)
    if net.ends:
        product(net.mult[0], at.batch, True, at.down, False, ZERO, g.stem)
        m, v = first_moment.stem, second_moment.stem
        _learn(net, 0, step, weights.stem, g.stem, m, v)


@njit(cache=True, error_model="numpy")
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
    net: Network, weights: Weights, first: Weights, second: Weights, at: Buffers,
    x: np.ndarray, labels: np.ndarray, values: np.ndarray,
    order: np.ndarray, start: int, curve: np.ndarray,
) -> None:  # fmt: skip
    """Train on the batches of `order` (steps, batch), the first of which is step `start`;
    `curve` receives every step's loss. Weights and moments change in place."""
    for step in range(len(order)):
        for i, row in enumerate(order[step]):
            at.batch[i] = x[row]
        _forward(net, weights, at)
        curve[step] = _loss(at.outputs, order[step], labels, values)
        _backward(net, start + step, weights, first, second, at)


@njit(cache=True)
def loss(
    net: Network, weights: Weights, at: Buffers,
    x: np.ndarray, labels: np.ndarray, values: np.ndarray, rows: np.ndarray,
) -> float:  # fmt: skip
    """The mean loss on some rows of a task."""
    for i, row in enumerate(rows):
        at.batch[i] = x[row]
    _forward(net, weights, at)
    return _loss(at.outputs, rows, labels, values)
