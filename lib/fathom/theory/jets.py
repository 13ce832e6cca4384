"""Smooth nonlinearities with their first two derivatives, which training in the limit needs."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit, ndtr

Array = NDArray[np.float64]
Jet = Callable[[Array], tuple[Array, Array, Array]]


def _linear(z: Array) -> tuple[Array, Array, Array]:
    return z, np.ones_like(z), np.zeros_like(z)


def _tanh(z: Array) -> tuple[Array, Array, Array]:
    value = np.tanh(z)
    slope = 1 - value**2
    return value, slope, -2 * value * slope


def _erf(z: Array) -> tuple[Array, Array, Array]:
    slope = 2 / np.sqrt(np.pi) * np.exp(-(z**2))
    return erf(z), slope, -2 * z * slope


def _gelu(z: Array) -> tuple[Array, Array, Array]:
    share, density = ndtr(z), np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return z * share, share + z * density, (2 - z**2) * density


def _softplus(z: Array) -> tuple[Array, Array, Array]:
    slope = expit(z)
    return np.logaddexp(0, z), slope, slope * (1 - slope)


JETS: dict[str, Jet] = {
    "linear": _linear,
    "tanh": _tanh,
    "erf": _erf,
    "gelu": _gelu,
    "softplus": _softplus,
}
