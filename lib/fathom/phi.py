"""Nonlinearities: the function, its derivative, and the constants theory needs of it.

Networks apply the function of the same name in torch; theory uses the definitions here.
A test compares the two. Besides the names in PHI there is `kink(s)`, which has slope s
left of 0 and 1 right of it: kink(0) is ReLU, kink(-1) abs, kink(0.1) a leaky ReLU.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit, ndtr

Array = NDArray[np.float64]
SQRT_2_PI = np.sqrt(2 * np.pi)


class Phi(NamedTuple):
    """A nonlinearity `f` and its derivative `df`, both applied entry by entry.

    `init_gain` is the variance of a weight, times its fan-in, that keeps the second
    moment of pre-activations constant from layer to layer: 1 / E f(z)^2, z ~ N(0, 1).
    `centred_variance` is Var f(z), what a block adds to the mean square of its stream once its
    mean is subtracted; a stream of many blocks grows by e^(a^2 times it).
    """

    f: Callable[[Array], Array]
    df: Callable[[Array], Array]
    init_gain: float
    centred_variance: float


def _mean(f: Callable[[Array], Array]) -> float:
    """E f(z) for z ~ N(0, 1), by quadrature on each side of the kink at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    half = 6 * (nodes + 1)
    density = np.exp(-(half**2) / 2) / SQRT_2_PI
    return float(np.sum(6 * weights * density * (f(half) + f(-half))))


def _phi(f: Callable[[Array], Array], df: Callable[[Array], Array]) -> Phi:
    square = _mean(lambda z: f(z) ** 2)
    return Phi(f, df, 1 / square, square - _mean(f) ** 2)


PHI: dict[str, Phi] = {
    "linear": _phi(lambda z: z, np.ones_like),
    "relu": _phi(lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0)),
    "abs": _phi(np.abs, np.sign),
    "tanh": _phi(np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "gelu": _phi(lambda z: z * ndtr(z), lambda z: ndtr(z) + z * np.exp(-(z**2) / 2) / SQRT_2_PI),
    "erf": _phi(erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
    "softplus": _phi(lambda z: np.logaddexp(0, z), expit),
}
KINK = re.compile(r"kink\((-?\d+(?:\.\d+)?(?:e-\d+)?)\)")
LEFT = {"linear": 1.0, "relu": 0.0, "abs": -1.0}


def left_slope(name: str) -> float | None:
    """The slope left of 0 of a nonlinearity with slope 1 right of it; None for others."""
    kink = KINK.fullmatch(name)
    return float(kink[1]) if kink else LEFT.get(name)


@cache
def phi(name: str) -> Phi:
    """The nonlinearity of a name in PHI, or a kink; raises KeyError for any other name."""
    left = left_slope(name)
    if name in PHI or left is None:
        return PHI[name]
    return _phi(lambda z: np.where(z > 0, z, left * z), lambda z: np.where(z > 0, 1.0, left))


def coherence(left: float) -> float:
    """How alike the gradients on two independent pre-activations stay when the gradients on
    their streams are the same: (E phi')^2 / E phi'^2 for a kink of slope `left` left of 0. With
    phi(z) = mu z + nu |z| it is mu^2 / (mu^2 + nu^2), mu = (1 + left) / 2, nu = (1 - left) / 2:
    linear 1, ReLU 1/2, abs 0. Source: derived for Tensor Programs VI, section 6, which argues
    for abs without a formula."""
    odd, even = (1 + left) / 2, (1 - left) / 2
    return odd**2 / (odd**2 + even**2)


def slope_kernel(left: float, correlation: float) -> float:
    """E phi'(z) phi'(y) of a kink of slope `left` left of 0, over standard normal z and y of a
    correlation: mu^2 + nu^2 (2 / pi) arcsin(correlation), the share of a drift along the
    stream that two steps with such pre-activations keep. Source: derived for Tensor Programs
    VI, section 6."""
    odd, even = (1 + left) / 2, (1 - left) / 2
    return odd**2 + even**2 * 2 / np.pi * float(np.arcsin(correlation))


def kappa(name: str) -> float:
    """E phi'(z)^4 / (E phi'(z)^2)^2 for z ~ N(0, 1): how fast the spectrum of a chain's
    Jacobian spreads with every layer (linear 1, abs 1, ReLU 2). Source: the finite-depth
    derivation for arXiv 2305.07810 and 2602.07494."""
    df = phi(name).df
    return _mean(lambda z: df(z) ** 4) / _mean(lambda z: df(z) ** 2) ** 2
