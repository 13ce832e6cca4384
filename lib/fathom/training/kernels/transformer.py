"""The transformer in compiled kernels: pre layer norm, causal attention, an MLP with GELU.

One run at a time, so that what it works on stays in a core's cache. The backward pass is written
out, and each layer learns as soon as its gradient is known. Autograd gives the same gradients
(tested). Attention is kept turned, [key, query]: what a softmax sums over then lies in different
rows, and every loop along a row is one that a processor does many entries at a time.
"""

import math

import numpy as np
from numba import njit

from fathom.spec.net import HEAD
from fathom.training.kernels.operations import ONE, ZERO, normalise, product, unnormalise, update
from fathom.training.kernels.smooth import exponential, gelu
from fathom.training.kernels.transformer_buffers import (
    LmBuffers,
    LmNetwork,
    LmWeights,
)

EMBED, PLACES, QKV, MIX, UP, DOWN, READOUT = range(7)
SHARP = np.float32(1 / HEAD)
NEVER = np.float32(-1e30)  # exp of it is nothing beside exp(0)


@njit(cache=True, error_model="numpy")
def _head(
    at: LmBuffers, layer: int, head: int
) -> tuple[slice, int, np.ndarray, np.ndarray, np.ndarray]:
    """Where the rows and the columns of a head of a text are, its queries, keys and values."""
    qkv, context, width = at.qkv[layer], at.scores.shape[0], at.inner.shape[1]
    text, column = head * HEAD // width, head * HEAD % width
    rows = slice(text * context, (text + 1) * context)
    q, k = qkv[rows, column : column + HEAD], qkv[rows, width + column : width + column + HEAD]
    return rows, column, q, k, qkv[rows, 2 * width + column : 2 * width + column + HEAD]


@njit(cache=True, error_model="numpy")
def _attend(at: LmBuffers, layer: int) -> None:
    """What every head mixes of the values, from queries, keys and values."""
    context, top, mass = at.scores.shape[0], at.row[: at.scores.shape[0]], at.sums
    for head in range(at.attention.shape[1]):
        rows, column, q, k, v = _head(at, layer, head)
        odds = at.attention[layer, head]
        product(SHARP, k, False, q, True, ZERO, odds)
        top[:], mass[:] = odds[0], ZERO
        for key in range(context):
            for query in range(context):
                seen = odds[key, query] if query >= key else top[query]
                top[query] = seen if seen > top[query] else top[query]
        for key in range(context):
            for query in range(context):  # a token sees none that come after it
                seen = odds[key, query] - top[query]
                odds[key, query] = exponential(seen if query >= key else NEVER)
                mass[query] += odds[key, query]
        for key in range(context):
            for query in range(context):
                odds[key, query] /= mass[query]
        product(ONE, odds, True, v, False, ZERO, at.mixed[layer][rows, column : column + HEAD])


@njit(cache=True, error_model="numpy")
def _attend_back(at: LmBuffers, layer: int) -> None:
    """at.turned = the gradient on queries, keys and values, from at.inner, that on mixtures."""
    context, width, scores, sums = at.scores.shape[0], at.inner.shape[1], at.scores, at.sums
    for head in range(at.attention.shape[1]):
        rows, column, q, k, v = _head(at, layer, head)
        odds, g = at.attention[layer, head], at.inner[rows, column : column + HEAD]
        first, second, third = column, width + column, 2 * width + column
        product(ONE, odds, False, g, False, ZERO, at.turned[rows, third : third + HEAD])
        product(ONE, v, False, g, True, ZERO, scores)
        sums[:] = ZERO
        for key in range(context):
            for query in range(context):
                sums[query] += odds[key, query] * scores[key, query]
        for key in range(context):
            for query in range(context):
                scores[key, query] = odds[key, query] * (scores[key, query] - sums[query])
        product(SHARP, scores, True, k, False, ZERO, at.turned[rows, first : first + HEAD])
        product(SHARP, scores, False, q, False, ZERO, at.turned[rows, second : second + HEAD])


@njit(cache=True, error_model="numpy")
def _forward(net: LmNetwork, weights: LmWeights, at: LmBuffers, x: np.ndarray) -> None:
    """at.outputs = the scores of the next token, of texts x (texts, context)."""
    context = x.shape[1]
    for row in range(at.stream.shape[0]):
        place, token = row % context, x[row // context, row % context]
        for j in range(at.stream.shape[1]):
            known = net.mult[EMBED] * weights.embed[token, j]
            at.stream[row, j] = known + net.mult[PLACES] * weights.places[place, j]
    mult, branch = net.mult, net.branch
    for layer in range(weights.qkv.shape[0]):
        mine, hidden = at.normed[2 * layer], at.hidden[layer]
        normalise(at.stream, at.even, at.means, at.spare, mine, at.scale[2 * layer])
        product(mult[QKV], mine, False, weights.qkv[layer], False, ZERO, at.qkv[layer])
        _attend(at, layer)
        taken = branch * mult[MIX]
        product(taken, at.mixed[layer], False, weights.mix[layer], False, ONE, at.stream)
        mine = at.normed[2 * layer + 1]
        normalise(at.stream, at.even, at.means, at.spare, mine, at.scale[2 * layer + 1])
        product(mult[UP], mine, False, weights.up[layer], False, ZERO, hidden)
        for row in range(hidden.shape[0]):
            for j in range(hidden.shape[1]):
                hidden[row, j], at.slope[layer, row, j] = gelu(hidden[row, j])
        taken = branch * mult[DOWN]
        product(taken, hidden, False, weights.down[layer], False, ONE, at.stream)
    normalise(at.stream, at.even, at.means, at.spare, at.normed[-1], at.scale[-1])
    product(mult[READOUT], at.normed[-1], False, weights.readout, False, ZERO, at.outputs)


@njit(cache=True, error_model="numpy")
def _loss(at: LmBuffers, y: np.ndarray) -> float:
    """The mean cross-entropy over all tokens, targets y (texts, context); its gradient replaces
    the outputs."""
    total, rows, context = 0.0, at.outputs.shape[0], y.shape[1]
    share = ONE / np.float32(rows)
    for row in range(rows):
        out, target = at.outputs[row], y[row // context, row % context]
        top, mass, said = out.max(), 0.0, out[target]
        for j in range(out.size):
            out[j] = exponential(out[j] - top)
        for j in range(out.size):
            mass += out[j]
        total += top + math.log(mass) - said
        scaled = share / np.float32(mass)
        for j in range(out.size):
            out[j] *= scaled
        out[target] -= share
    return total / rows


@njit(cache=True, error_model="numpy")
def _learn(
    net: LmNetwork, part: int, step: int, share: np.float32,
    weight: np.ndarray, gradient: np.ndarray, first: np.ndarray, second: np.ndarray,
) -> None:  # fmt: skip
    """One update of one layer at a share of the full rate, the weight decayed before."""
    w, kept = weight.ravel(), ONE - share * net.shrink[part]
    if kept != ONE:
        for i in range(w.size):
            w[i] *= kept
    rate = share * net.rate[part]
    update(weight, gradient, first, second, net.adam, step, rate, net.eps[part])


@njit(cache=True, error_model="numpy")
def _backward(
    net: LmNetwork, step: int, share: np.float32,
    weights: LmWeights, m: LmWeights, v: LmWeights, at: LmBuffers, x: np.ndarray,
) -> None:  # fmt: skip
    """From the gradient on the outputs down to the embeddings, each layer learning on the way."""
    mult, g, down = net.mult, at.gradients, at.stream
    product(mult[READOUT], at.normed[-1], True, at.outputs, False, ZERO, g.readout)
    product(mult[READOUT], at.outputs, False, weights.readout, True, ZERO, at.inner)
    _learn(net, READOUT, step, share, weights.readout, g.readout, m.readout, v.readout)
    down[:] = ZERO
    unnormalise(at.normed[-1], at.scale[-1], at.inner, at.even, at.means, at.spare, down)
    for i in range(weights.qkv.shape[0] - 1, -1, -1):
        mine, scale, taken = at.normed[2 * i + 1], at.scale[2 * i + 1], net.branch * mult[DOWN]
        product(taken, at.hidden[i], True, down, False, ZERO, g.down)
        product(taken, down, False, weights.down[i], True, ZERO, at.wide)
        _learn(net, DOWN, step, share, weights.down[i], g.down, m.down[i], v.down[i])
        for row in range(at.wide.shape[0]):
            for j in range(at.wide.shape[1]):
                at.wide[row, j] *= at.slope[i, row, j]
        product(mult[UP], mine, True, at.wide, False, ZERO, g.up)
        product(mult[UP], at.wide, False, weights.up[i], True, ZERO, at.inner)
        _learn(net, UP, step, share, weights.up[i], g.up, m.up[i], v.up[i])
        unnormalise(mine, scale, at.inner, at.even, at.means, at.spare, down)
        mine, scale, taken = at.normed[2 * i], at.scale[2 * i], net.branch * mult[MIX]
        product(taken, at.mixed[i], True, down, False, ZERO, g.mix)
        product(taken, down, False, weights.mix[i], True, ZERO, at.inner)
        _learn(net, MIX, step, share, weights.mix[i], g.mix, m.mix[i], v.mix[i])
        _attend_back(at, i)
        product(mult[QKV], mine, True, at.turned, False, ZERO, g.qkv)
        product(mult[QKV], at.turned, False, weights.qkv[i], True, ZERO, at.inner)
        _learn(net, QKV, step, share, weights.qkv[i], g.qkv, m.qkv[i], v.qkv[i])
        unnormalise(mine, scale, at.inner, at.even, at.means, at.spare, down)
    g.embed[:], g.places[:] = ZERO, ZERO
    for row in range(down.shape[0]):
        place, token = row % x.shape[1], x[row // x.shape[1], row % x.shape[1]]
        for j in range(down.shape[1]):
            g.embed[token, j] += mult[EMBED] * down[row, j]
            g.places[place, j] += mult[PLACES] * down[row, j]
    _learn(net, EMBED, step, share, weights.embed, g.embed, m.embed, v.embed)
    _learn(net, PLACES, step, share, weights.places, g.places, m.places, v.places)


@njit(cache=True, error_model="numpy")
def learn(
    net: LmNetwork, weights: LmWeights, first: LmWeights, second: LmWeights, at: LmBuffers,
    x: np.ndarray, y: np.ndarray, start: int, shares: np.ndarray, curve: np.ndarray,
) -> None:  # fmt: skip
    """Train on batches x and y (steps, texts, context), the first of which is step `start`, at
    these shares of the full rate; `curve` receives every step's loss."""
    for step in range(len(x)):
        _forward(net, weights, at, x[step])
        curve[step] = _loss(at, y[step])
        _backward(net, start + step, shares[step], weights, first, second, at, x[step])


@njit(cache=True, error_model="numpy")
def losses(
    net: LmNetwork,
    weights: LmWeights,
    at: LmBuffers,
    x: np.ndarray,
    y: np.ndarray,
    curve: np.ndarray,
) -> None:
    """The mean loss on each of the batches x and y (batches, texts, context)."""
    for i in range(len(x)):
        _forward(net, weights, at, x[i])
        curve[i] = _loss(at, y[i])
