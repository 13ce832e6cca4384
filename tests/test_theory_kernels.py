"""Gaussian averages of nonlinearities, in closed form and by quadrature."""

import numpy as np
import pytest
from fathom.phi import PHI
from fathom.theory import kernel
from fathom.theory.jets import JETS
from fathom.theory.kernel import gaussian_averages, layer_averages
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray

Array = NDArray[np.float64]
C = (1.3, 0.8, 0.4)  # two variances and a covariance


def direct(f: Array, weights: Array) -> float:
    return float((f * weights).sum())


def sampled_pair(nodes: int) -> tuple[Array, Array, Array]:
    """Two correlated Gaussians of covariance C on a plain Gauss-Hermite grid, with weights."""
    at, weight = hermegauss(nodes)
    weight = weight / weight.sum()
    x = np.sqrt(C[0]) * at[:, None] + 0 * at
    y = C[2] / np.sqrt(C[0]) * at[:, None] + np.sqrt(C[1] - C[2] ** 2 / C[0]) * at
    return x, y, weight[:, None] * weight


@pytest.mark.parametrize("phi", JETS)
def test_smooth_averages_are_those_of_a_grid(phi: str) -> None:
    x, y, weights = sampled_pair(120)
    found = gaussian_averages(phi, *C)
    (f_x, slope_x, _), (f_y, slope_y, _) = JETS[phi](x), JETS[phi](y)
    assert found.features == pytest.approx(direct(f_x * f_y, weights), abs=1e-8)
    assert found.slopes == pytest.approx(direct(slope_x * slope_y, weights), abs=1e-8)


@pytest.mark.parametrize("phi", ["relu", "abs", "kink(0.3)", "linear"])
def test_kinked_averages_are_those_of_many_samples(phi: str) -> None:
    slope = {"relu": 0.0, "abs": -1.0, "kink(0.3)": 0.3, "linear": 1.0}[phi]
    rng = np.random.default_rng(0)
    x, y = rng.multivariate_normal([0, 0], [[C[0], C[2]], [C[2], C[1]]], 400_000).T
    left, right = (np.where(z > 0, z, slope * z) for z in (x, y))
    found = gaussian_averages(phi, *C)
    for value, product in (
        (found.features, left * right),
        (found.slopes, left * right / (x * y)),
    ):
        assert abs(product.mean() - value) <= 4 * product.std() / np.sqrt(len(x)) + 1e-12


def test_the_closed_form_of_erf_is_the_quadrature() -> None:
    parts = [np.array([part]) for part in C]
    for closed, numeric in zip(
        gaussian_averages("erf", *parts), kernel._quadrature("erf", *parts), strict=True
    ):
        np.testing.assert_allclose(closed, numeric, rtol=1e-11)


def test_sqrt2_relu_keeps_the_mean_square() -> None:
    found = gaussian_averages("sqrt2_relu", 1.7, 1.7, 1.7)
    assert found.features == pytest.approx(1.7) and found.slopes == pytest.approx(1)


def test_more_nodes_do_not_move_the_quadrature(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [gaussian_averages(phi, 4.0, 3.0, -2.0) for phi in JETS]
    monkeypatch.setattr(kernel, "NODES", 200)
    for phi, before in zip(JETS, found, strict=True):
        np.testing.assert_allclose(gaussian_averages(phi, 4.0, 3.0, -2.0), before, atol=2e-9)


@pytest.mark.parametrize("phi", JETS)
def test_derivatives_are_those_of_the_function(phi: str) -> None:
    z, step = np.linspace(-3, 3, 41), 1e-5
    value, slope, bend = JETS[phi](z)
    above, below = JETS[phi](z + step), JETS[phi](z - step)
    np.testing.assert_allclose((above[0] - below[0]) / (2 * step), slope, atol=1e-9)
    np.testing.assert_allclose((above[1] - below[1]) / (2 * step), bend, atol=1e-9)
    if phi in PHI:
        np.testing.assert_allclose(value, PHI[phi].f(z), atol=1e-14)


def test_a_layer_is_its_pairs() -> None:
    h = np.array([[1.3, 0.4], [0.4, 0.8]])
    pair = gaussian_averages("tanh", *C)
    found = layer_averages("tanh", np.stack([h, 2 * h]))
    assert found.features[0, 0, 1] == found.features[0, 1, 0] == pytest.approx(pair.features)
    assert found.slopes[0, 1, 0] == pytest.approx(pair.slopes)
    assert found.features.shape == (2, 2, 2)


def test_an_unknown_nonlinearity_is_refused() -> None:
    with pytest.raises(ValueError, match=r"phi must be one of linear, relu.*not sine"):
        gaussian_averages("sine", *C)
