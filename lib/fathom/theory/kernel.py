"""Gaussian averages of a nonlinearity: what one layer makes of its kernel.

Over (x, y) ~ N(0, C): the feature kernel E phi(x) phi(y) and the slope kernel
E phi'(x) phi'(y), in closed form where one is known and by quadrature where not.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fathom.phi import left_slope
from fathom.theory.jets import JETS

Array = NDArray[np.float64]
NODES, REACH = 80, 8.0  # points of the quadrature along an axis, standard deviations they span
NAMES = ("linear", "relu", "sqrt2_relu", "abs", "kink(s)", "erf", "tanh", "gelu", "softplus")


class Averages(NamedTuple):
    """features: E phi(x) phi(y). slopes: E phi'(x) phi'(y). Of the same shape."""

    features: Array
    slopes: Array


def gaussian_averages(phi: str, left: ArrayLike, right: ArrayLike, shared: ArrayLike) -> Averages:
    """The two averages over x of variance `left` and y of variance `right` whose covariance is
    `shared`, for arrays of one shape; phi is one of NAMES. Raises ValueError for other names.

    Source: arXiv 2309.16620, as in section 5.6 of its spec (erf, ReLU, abs in closed form).
    """
    return _averages(phi, *(np.asarray(part, float) for part in (left, right, shared)))


def layer_averages(phi: str, kernel: Array) -> Averages:
    """The averages of all pairs of samples of a kernel (..., samples, samples), in its shape;
    what `gaussian_averages` gives for each."""
    samples = kernel.shape[-1]
    rows, columns = np.triu_indices(samples)
    square = np.diagonal(kernel, axis1=-2, axis2=-1)
    found = _averages(phi, square[..., rows], square[..., columns], kernel[..., rows, columns])
    full = [np.empty(kernel.shape), np.empty(kernel.shape)]
    for whole, half in zip(full, found, strict=True):
        whole[..., rows, columns] = whole[..., columns, rows] = half
    return Averages(*full)


def _averages(phi: str, left: Array, right: Array, shared: Array) -> Averages:
    if phi == "sqrt2_relu":
        plain = _kinked(0.0, left, right, shared)
        return Averages(2 * plain.features, 2 * plain.slopes)
    slope = left_slope(phi)
    if slope is not None:
        return _kinked(slope, left, right, shared)
    if phi == "erf":
        return _erf(left, right, shared)
    if phi not in JETS:
        raise ValueError(f"phi must be one of {', '.join(NAMES)}, not {phi}")
    return _quadrature(phi, left, right, shared)


def _kinked(slope: float, left: Array, right: Array, shared: Array) -> Averages:
    """With slope `slope` left of 0 and 1 right of it: phi(z) = odd z + even |z|."""
    odd, even = (1 + slope) / 2, (1 - slope) / 2
    scale = np.sqrt(left * right)
    cosine = np.clip(shared / scale, -1, 1)
    angle = np.arcsin(cosine)
    both = 2 / np.pi * scale * (np.sqrt(1 - cosine**2) + cosine * angle)
    return Averages(odd**2 * shared + even**2 * both, odd**2 + even**2 * 2 / np.pi * angle)


def _erf(left: Array, right: Array, shared: Array) -> Averages:
    product = (1 + 2 * left) * (1 + 2 * right)
    features = 2 / np.pi * np.arcsin(2 * shared / np.sqrt(product))
    return Averages(features, 4 / np.pi / np.sqrt(product - 4 * shared**2))


def _quadrature(phi: str, left: Array, right: Array, shared: Array) -> Averages:
    """On equally spaced points, which analytic functions need far fewer of than of Gauss-Hermite
    ones where they have poles near the real axis, as tanh has."""
    nodes = np.linspace(-REACH, REACH, NODES)
    weights = np.exp(-(nodes**2) / 2)
    weights /= weights.sum()
    own = np.sqrt(left)
    along = shared / own
    across = np.sqrt(np.maximum(right - along**2, 0))
    x = own[..., None] * nodes
    y = along[..., None, None] * nodes[:, None] + across[..., None, None] * nodes
    found = [
        np.einsum("...i,...i->...", at_x * weights, at_y @ weights)
        for at_x, at_y in zip(JETS[phi](x)[:2], JETS[phi](y)[:2], strict=True)
    ]
    return Averages(*found)
