"""Attention in compiled kernels, head by head.

It is kept turned, [key, query]: what a softmax sums over then lies in different rows, and every
loop along a row is one that a processor does many entries at a time.
"""

import numpy as np
from numba import njit

from fathom.spec.net import HEAD
from fathom.training.kernels.operations import ONE, ZERO, product
from fathom.training.kernels.smooth import exponential
from fathom.training.kernels.transformer_buffers import TransformerBuffers

SHARP = np.float32(1 / HEAD)
NEVER = np.float32(-1e30)  # exp of it is nothing beside exp(0)


@njit(cache=True, error_model="numpy")
def _head(
    at: TransformerBuffers, layer: int, head: int
) -> tuple[slice, int, np.ndarray, np.ndarray, np.ndarray]:
    """Where the rows and the columns of a head of a text are, its queries, keys and values."""
    qkv, context, width = at.qkv[layer], at.scores.shape[0], at.inner.shape[1]
    text, column = head * HEAD // width, head * HEAD % width
    rows = slice(text * context, (text + 1) * context)
    q, k = qkv[rows, column : column + HEAD], qkv[rows, width + column : width + column + HEAD]
    return rows, column, q, k, qkv[rows, 2 * width + column : 2 * width + column + HEAD]


@njit(cache=True, error_model="numpy")
def attend(at: TransformerBuffers, layer: int, causal: bool) -> None:
    """What every head mixes of the values, from queries, keys and values; where it is `causal`, a
    place sees none that come after it."""
    context, top, mass = at.scores.shape[0], at.row[: at.scores.shape[0]], at.sums
    for head in range(at.attention.shape[1]):
        rows, column, q, k, v = _head(at, layer, head)
        odds = at.attention[layer, head]
        product(SHARP, k, False, q, True, ZERO, odds)
        top[:], mass[:] = odds[0], ZERO
        for key in range(context):
            first = key if causal else 0
            for query in range(context):
                seen = odds[key, query] if query >= first else top[query]
                top[query] = seen if seen > top[query] else top[query]
        for key in range(context):
            first = key if causal else 0
            for query in range(context):
                seen = odds[key, query] - top[query]
                odds[key, query] = exponential(seen if query >= first else NEVER)
                mass[query] += odds[key, query]
        for key in range(context):
            for query in range(context):
                odds[key, query] /= mass[query]
        product(ONE, odds, True, v, False, ZERO, at.mixed[layer][rows, column : column + HEAD])


@njit(cache=True, error_model="numpy")
def attend_back(at: TransformerBuffers, layer: int) -> None:
    """at.turned = the gradient on queries, keys and values, from at.spare, that on mixtures."""
    context, width, scores, sums = at.scores.shape[0], at.inner.shape[1], at.scores, at.sums
    for head in range(at.attention.shape[1]):
        rows, column, q, k, v = _head(at, layer, head)
        odds, g = at.attention[layer, head], at.spare[rows, column : column + HEAD]
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
