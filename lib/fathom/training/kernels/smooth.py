"""Smooth functions for compiled kernels, many numbers at a time: the exponential, tanh, GELU.

A call of the C library would stop a loop from being vectorised; arithmetic, minima and maxima do
not. Nothing is fused or regrouped, so the bits depend on no processor.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fathom.training.kernels.operations import ONE, ZERO

HALF = np.float32(0.5)
LOWEST = np.float32(-87.0)  # exp of anything less is hardly a number in single precision
LOG2_E = np.float32(math.log2(math.e))
LN_2_FIRST = np.float32(0.693359375)  # ln 2 in two parts, the first so short that a whole number
LN_2_REST = np.float32(math.log(2) - 0.693359375)  # times it is exact
TERMS = tuple(np.float32(1 / math.factorial(n)) for n in range(8))
DENSITY = np.float32(1 / math.sqrt(2 * math.pi))
# the tail of a normal distribution, to 1e-7: Abramowitz and Stegun, Handbook of Mathematical
# Functions, 7.1.26, with the half of it in the coefficients
BEND = np.float32(0.3275911 / math.sqrt(2))
TAIL = tuple(
    np.float32(a / 2) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)
# tanh(z) = z ABOVE(z^2) / BELOW(z^2) to 2e-8 of its size up to WIDEST, from where it is 1: a fit of
# ours, least in its largest error. All terms are positive, so none takes digits from another.
WIDEST = np.float32(9.02)
ABOVE = tuple(map(np.float32, (1.0, 0.133797184, 0.00349403499, 2.05834876e-05, 1.33190792e-08)))
BELOW = tuple(map(np.float32, (1.0, 0.467130333, 0.0258710757, 0.000328309339, 7.76202228e-07)))


@intrinsic
def _with_bits(context: Any, whole: Any) -> Any:
    """The single-precision number that has the bits of a whole one."""
    del context, whole
    said = types.float32(types.int32)
    return said, lambda context, builder, kind, given: builder.bitcast(given[0], ir.FloatType())


@njit(cache=True, error_model="numpy")
def exponential(y: np.float32) -> np.float32:
    """exp(y), for y of at most 0; what is not a number stays so."""
    z = y if y > LOWEST else LOWEST
    whole = np.floor(z * LOG2_E + HALF)
    r = z - whole * LN_2_FIRST - whole * LN_2_REST + ZERO * y
    series = TERMS[6] + r * TERMS[7]
    series = TERMS[4] + r * (TERMS[5] + r * series)
    series = TERMS[2] + r * (TERMS[3] + r * series)
    bits = (np.int32(whole) + np.int32(127)) << np.int32(23)  # those of 2**whole
    power: np.float32 = _with_bits(bits)  # pyright: ignore[reportCallIssue]
    return (ONE + r * (ONE + r * series)) * power


@njit(cache=True, error_model="numpy")
def gelu(z: np.float32) -> tuple[np.float32, np.float32]:
    """GELU(z) = z times the normal distribution at z, and its derivative there."""
    bell = exponential(-HALF * z * z)
    t = ONE / (ONE + BEND * abs(z))
    tail = TAIL[2] + t * (TAIL[3] + t * TAIL[4])
    tail = t * (TAIL[0] + t * (TAIL[1] + t * tail)) * bell
    below = tail if z < ZERO else ONE - tail
    return z * below, below + z * DENSITY * bell


@njit(cache=True, error_model="numpy")
def tanh(z: np.float32) -> tuple[np.float32, np.float32]:
    """tanh(z) and its derivative 1 - tanh(z)^2; what is not a number stays so."""
    z = WIDEST if z > WIDEST else z
    z = -WIDEST if z < -WIDEST else z
    s = z * z
    above = ABOVE[0] + s * (ABOVE[1] + s * (ABOVE[2] + s * (ABOVE[3] + s * ABOVE[4])))
    below = BELOW[0] + s * (BELOW[1] + s * (BELOW[2] + s * (BELOW[3] + s * BELOW[4])))
    t = z * above / below
    t = ONE if t > ONE else t  # rounding may go beyond
    t = -ONE if t < -ONE else t
    return t, ONE - t * t
