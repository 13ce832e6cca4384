"""One gradient step of an infinitely wide and deep linear residual network on one datum.

From output 0, with half the squared error and beta 1; a = eta_0 gamma_0 y, k = x.x/D, and tau =
l / L is the place in depth. Either all weights are trained, or the residual blocks alone.
Source: arXiv 2309.16620, Figure 7; closed forms as derived in section 5.7 of its spec (that of
the paper could not be confirmed), for blocks alone also that of G, by the symmetry of h and g.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def one_step_features(tau: ArrayLike, a: float, k: float = 1.0, train_ends: bool = True) -> Array:
    """H_1(tau), the mean square of the stream after the step, in the shape of tau."""
    place = np.asarray(tau, float)
    gain = a**2 * k**2 * np.exp(1 + place) * _polynomial(place, train_ends)
    return k * np.exp(place) + gain


def one_step_gradients(tau: ArrayLike, a: float, k: float = 1.0, train_ends: bool = True) -> Array:
    """G_1(tau), the mean square of gamma_0 N df/dh after the step, in the shape of tau."""
    left = 1 - np.asarray(tau, float)
    return np.exp(left) + a**2 * k * np.exp(1 + left) * _polynomial(left, train_ends)


def one_step_output(eta_0: float, y: float, k: float = 1.0, train_ends: bool = True) -> float:
    """f(1), which is linear in the rate: the step through each of readout, blocks and input
    matrix adds e k eta_0 y."""
    return (3 if train_ends else 1) * float(np.e) * k * eta_0 * y


def _polynomial(place: Array, train_ends: bool) -> Array:
    ends = 1 + 4 * place + 2 * place**2 if train_ends else 0
    return ends + place**2 + 2 / 3 * place**3
