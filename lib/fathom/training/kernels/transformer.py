"""Transformers in compiled kernels: attention and an MLP with GELU as branches of a stream, of
texts or of images, with norms before the branches, after the additions or nowhere.

One run at a time, so that what it works on stays in a core's cache. The backward pass is written
out, and each layer learns as soon as its gradient is known. Autograd gives the same gradients
(tested).
"""

import math

import numpy as np
from numba import njit

from fathom.training.kernels.attention import attend, attend_back
from fathom.training.kernels.operations import ONE, ZERO, normalise, product, unnormalise, update
from fathom.training.kernels.smooth import exponential, gelu
from fathom.training.kernels.transformer_buffers import (
    POST,
    PRE,
    TransformerBuffers,
    TransformerNetwork,
    TransformerWeights,
)

EMBED, PLACES, QKV, MIX, UP, DOWN, READOUT, GAINS = range(8)


@njit(cache=True, error_model="numpy")
def _embed(
    net: TransformerNetwork, weights: TransformerWeights, at: TransformerBuffers,
    tokens: np.ndarray, patches: np.ndarray,
) -> None:  # fmt: skip
    """at.stream = what is known of every token, or of every patch, and of its place."""
    context, stream = weights.places.shape[0], at.stream
    if net.images:
        product(net.mult[EMBED], patches, False, weights.embed, False, ZERO, stream)
    for row in range(stream.shape[0]):
        place = row % context
        if not net.images:
            for j in range(stream.shape[1]):
                stream[row, j] = net.mult[EMBED] * weights.embed[tokens[row], j]
        for j in range(stream.shape[1]):
            stream[row, j] += net.mult[PLACES] * weights.places[place, j]


@njit(cache=True, error_model="numpy")
def _embed_back(
    net: TransformerNetwork, at: TransformerBuffers, tokens: np.ndarray, patches: np.ndarray
) -> None:
    """The gradients of both embeddings, from that on the stream."""
    g, down, context = at.gradients, at.stream, at.gradients.places.shape[0]
    g.embed[:], g.places[:] = ZERO, ZERO
    if net.images:
        product(net.mult[EMBED], patches, True, down, False, ZERO, g.embed)
    for row in range(down.shape[0]):
        place = row % context
        if not net.images:
            for j in range(down.shape[1]):
                g.embed[tokens[row], j] += net.mult[EMBED] * down[row, j]
        for j in range(down.shape[1]):
            g.places[place, j] += net.mult[PLACES] * down[row, j]


@njit(cache=True, error_model="numpy")
def _scaled(net: TransformerNetwork, weights: TransformerWeights, at: TransformerBuffers) -> None:
    """at.mix and at.down = the last matrix of each branch, its columns times their gains."""
    for layer in range(weights.gains.shape[0]):
        for j in range(weights.gains.shape[2]):
            after_mix = net.mult[GAINS] * weights.gains[layer, 0, j]
            after_down = net.mult[GAINS] * weights.gains[layer, 1, j]
            for i in range(at.mix.shape[1]):
                at.mix[layer, i, j] = weights.mix[layer, i, j] * after_mix
            for i in range(at.down.shape[1]):
                at.down[layer, i, j] = weights.down[layer, i, j] * after_down


@njit(cache=True, error_model="numpy")
def _scaled_back(
    net: TransformerNetwork, gains: np.ndarray, weight: np.ndarray,
    gradient: np.ndarray, on_gains: np.ndarray,
) -> None:  # fmt: skip
    """`gradient` on a matrix whose columns are times their gains, to that on the matrix itself;
    on_gains = the gradient on the gains."""
    mult = net.mult[GAINS]
    on_gains[:] = ZERO
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            on_gains[j] += mult * (weight[i, j] * gradient[i, j])
            gradient[i, j] *= mult * gains[j]


@njit(cache=True, error_model="numpy")
def _seen(net: TransformerNetwork, at: TransformerBuffers, k: int) -> None:
    """at.normed[k] = what the k-th branch, or after the last one the read-out, sees of the stream,
    which norms after the additions change too."""
    mine = at.normed[k]
    if net.placement == PRE or (net.placement == POST and k > 0):
        normalise(at.stream, at.even, at.means, at.spare, mine, at.scale[k])
    else:
        mine[:] = at.stream
    if net.placement == POST:
        at.stream[:] = mine


@njit(cache=True, error_model="numpy")
def _seen_back(net: TransformerNetwork, at: TransformerBuffers, k: int) -> None:
    """The gradient at.inner on what was seen joins that on the stream, in at.stream."""
    mine, scale, down = at.normed[k], at.scale[k], at.stream
    if net.placement == POST and k > 0:
        at.inner[:] += down
        down[:] = ZERO
    if net.placement == PRE or (net.placement == POST and k > 0):
        unnormalise(mine, scale, at.inner, at.even, at.means, at.spare, down)
    else:
        down[:] += at.inner


@njit(cache=True, error_model="numpy")
def _forward(
    net: TransformerNetwork, weights: TransformerWeights, at: TransformerBuffers,
    tokens: np.ndarray, patches: np.ndarray,
) -> None:  # fmt: skip
    """at.outputs = the scores of the next token, of tokens (rows,), or of an image's class, of
    patches (rows, pixels)."""
    _embed(net, weights, at, tokens, patches)
    _scaled(net, weights, at)
    mult, branch, gained = net.mult, net.branch, weights.gains.shape[0] > 0
    for layer in range(weights.qkv.shape[0]):
        k = layer if net.parallel else 2 * layer
        _seen(net, at, k)
        product(mult[QKV], at.normed[k], False, weights.qkv[layer], False, ZERO, at.qkv[layer])
        attend(at, layer, not net.images)
        taken, last = branch * mult[MIX], at.mix[layer] if gained else weights.mix[layer]
        product(taken, at.mixed[layer], False, last, False, ONE, at.stream)
        if not net.parallel:
            k += 1
            _seen(net, at, k)
        hidden = at.hidden[layer]
        product(mult[UP], at.normed[k], False, weights.up[layer], False, ZERO, hidden)
        for row in range(hidden.shape[0]):
            for j in range(hidden.shape[1]):
                hidden[row, j], at.slope[layer, row, j] = gelu(hidden[row, j])
        taken, last = branch * mult[DOWN], at.down[layer] if gained else weights.down[layer]
        product(taken, hidden, False, last, False, ONE, at.stream)
    _seen(net, at, len(at.normed) - 1)
    seen = at.normed[-1]
    if net.images:
        share, context, pooled = ONE / np.float32(at.scores.shape[0]), at.scores.shape[0], at.pooled
        pooled[:] = ZERO
        for row in range(seen.shape[0]):
            for j in range(seen.shape[1]):
                pooled[row // context, j] += share * seen[row, j]
        seen = pooled
    product(mult[READOUT], seen, False, weights.readout, False, ZERO, at.outputs)


@njit(cache=True, error_model="numpy")
def _loss(at: TransformerBuffers, y: np.ndarray) -> float:
    """The mean cross-entropy over all tokens or images, targets y; its gradient replaces the
    outputs."""
    total, rows = 0.0, at.outputs.shape[0]
    share = ONE / np.float32(rows)
    for row in range(rows):
        out, target = at.outputs[row], y[row]
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
    net: TransformerNetwork, part: int, step: int, share: np.float32,
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
def _readout_back(
    net: TransformerNetwork, weights: TransformerWeights, at: TransformerBuffers
) -> None:
    """The gradients of the read-out and, in at.stream, on the stream, from that on the outputs."""
    mult, context = net.mult[READOUT], at.scores.shape[0]
    seen = at.pooled if net.images else at.normed[-1]
    product(mult, seen, True, at.outputs, False, ZERO, at.gradients.readout)
    back = at.pooled if net.images else at.inner
    product(mult, at.outputs, False, weights.readout, True, ZERO, back)
    if net.images:
        share = ONE / np.float32(context)
        for row in range(at.inner.shape[0]):
            for j in range(at.inner.shape[1]):
                at.inner[row, j] = share * back[row // context, j]
    at.stream[:] = ZERO
    _seen_back(net, at, len(at.normed) - 1)


@njit(cache=True, error_model="numpy")
def _backward(
    net: TransformerNetwork, step: int, share: np.float32, weights: TransformerWeights,
    m: TransformerWeights, v: TransformerWeights, at: TransformerBuffers,
    tokens: np.ndarray, patches: np.ndarray,
) -> None:  # fmt: skip
    """From the gradient on the outputs down to the embeddings, each layer learning on the way."""
    mult, g, down, gained = net.mult, at.gradients, at.stream, weights.gains.shape[0] > 0
    _readout_back(net, weights, at)
    _learn(net, READOUT, step, share, weights.readout, g.readout, m.readout, v.readout)
    for i in range(weights.qkv.shape[0] - 1, -1, -1):
        k = i if net.parallel else 2 * i + 1
        taken, last = net.branch * mult[DOWN], at.down[i] if gained else weights.down[i]
        product(taken, at.hidden[i], True, down, False, ZERO, g.down)
        product(taken, down, False, last, True, ZERO, at.wide)
        if gained:
            _scaled_back(net, weights.gains[i, 1], weights.down[i], g.down, g.gains[1])
        _learn(net, DOWN, step, share, weights.down[i], g.down, m.down[i], v.down[i])
        for row in range(at.wide.shape[0]):
            for j in range(at.wide.shape[1]):
                at.wide[row, j] *= at.slope[i, row, j]
        product(mult[UP], at.normed[k], True, at.wide, False, ZERO, g.up)
        product(mult[UP], at.wide, False, weights.up[i], True, ZERO, at.inner)
        _learn(net, UP, step, share, weights.up[i], g.up, m.up[i], v.up[i])
        if not net.parallel:
            _seen_back(net, at, k)
            k -= 1
        taken, last = net.branch * mult[MIX], at.mix[i] if gained else weights.mix[i]
        product(taken, at.mixed[i], True, down, False, ZERO, g.mix)
        product(taken, down, False, last, True, ZERO, at.spare)
        if gained:
            _scaled_back(net, weights.gains[i, 0], weights.mix[i], g.mix, g.gains[0])
            _learn(net, GAINS, step, share, weights.gains[i], g.gains, m.gains[i], v.gains[i])
        _learn(net, MIX, step, share, weights.mix[i], g.mix, m.mix[i], v.mix[i])
        attend_back(at, i)
        product(mult[QKV], at.normed[k], True, at.turned, False, ZERO, g.qkv)
        with_mlp = ONE if net.parallel else ZERO
        product(mult[QKV], at.turned, False, weights.qkv[i], True, with_mlp, at.inner)
        _learn(net, QKV, step, share, weights.qkv[i], g.qkv, m.qkv[i], v.qkv[i])
        _seen_back(net, at, k)
    _embed_back(net, at, tokens, patches)
    _learn(net, EMBED, step, share, weights.embed, g.embed, m.embed, v.embed)
    _learn(net, PLACES, step, share, weights.places, g.places, m.places, v.places)


@njit(cache=True, error_model="numpy")
def learn(
    net: TransformerNetwork, weights: TransformerWeights, first: TransformerWeights,
    second: TransformerWeights, at: TransformerBuffers, tokens: np.ndarray, patches: np.ndarray,
    y: np.ndarray, start: int, shares: np.ndarray, curve: np.ndarray,
) -> None:  # fmt: skip
    """Train on batches, the first of which is step `start`, at these shares of the full rate:
    tokens (steps, rows) or patches (steps, rows, pixels), the other of which is empty, and targets
    y (steps, tokens or images); `curve` receives every step's loss."""
    for step in range(len(y)):
        _forward(net, weights, at, tokens[step], patches[step])
        curve[step] = _loss(at, y[step])
        _backward(
            net, start + step, shares[step], weights, first, second, at,
            tokens[step], patches[step],
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def losses(
    net: TransformerNetwork, weights: TransformerWeights, at: TransformerBuffers,
    tokens: np.ndarray, patches: np.ndarray, y: np.ndarray, curve: np.ndarray,
) -> None:  # fmt: skip
    """The mean loss on each of the batches, which are as in `learn`."""
    for i in range(len(y)):
        _forward(net, weights, at, tokens[i], patches[i])
        curve[i] = _loss(at, y[i])
