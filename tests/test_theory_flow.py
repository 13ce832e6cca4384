"""Kernels of infinitely wide networks along depth, at finite depth and as equations in it."""

import numpy as np
import pytest
from fathom.theory import flow
from fathom.theory.flow import (
    kernel_without_responses,
    lazy_training,
    ntk_finite,
    ntk_limit,
)
from fathom.theory.solution import NotConverged
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pair(cosine: float) -> Array:
    return np.array([[1, cosine], [cosine, 1]])


# phi, readout, angle; then rho(1), H_12(1), G(0), shares of residual, readout, input, total
ANGLES = [
    ("relu", "phi", 0, 1, 1.648721, 0.824361, 0.412180, 0.824361, 0.824361, 2.060902),
    ("relu", "phi", 1 / 4, 0.729829, 1.203285, 0.554649, 0.225576, 0.636875, 0.392196, 1.254647),
    ("relu", "phi", 1 / 2, 0.141348, 0.233043, 0.354113, 0.071637, 0.323289, 0, 0.394926),
    ("relu", "phi", 1, -0.591562, -0.975321, 0.165272, 0.003822, 0.065992, -0.165272, -0.095458),
    *[
        ("sqrt2_relu", readout, angle, *row)
        for readout, angle, row in (
            ("phi", 1 / 4, (0.749984, 2.038668, 1.646765, 1.440753, 2.141979, 1.164439, 4.747170)),
            ("phi", 1 / 2, (0.253859, 0.690061, 1.001924, 0.505639, 1.238319, 0, 1.743959)),
            ("linear", 1 / 2, (0.253859, 0.690061, 1.722406, 0.869244, 0.690061, 0, 1.559304)),
        )
    ],
]


@pytest.mark.parametrize(
    ("phi", "readout", "angle", "rho", "h", "g", "res", "out", "in_", "all_"), ANGLES
)
def test_the_limit_of_relu_is_the_reference(
    phi: str,
    readout: str,
    angle: float,
    rho: float,
    h: float,
    g: float,
    res: float,
    out: float,
    in_: float,
    all_: float,
) -> None:
    found = ntk_limit(phi, pair(np.cos(np.pi * angle)), readout=readout).value
    end = found.stream[-1]
    numbers = [end[0, 1] / end[0, 0], end[0, 1], found.gradient[0, 0, 1]]
    numbers += [part[0, 1] for part in (found.residual, found.readout, found.input, found.total)]
    np.testing.assert_allclose(numbers, [rho, h, g, res, out, in_, all_], atol=6e-7)


# phi; then H_11(1), H_12(1), G_12(0), residual share and total
SMOOTH = [
    ("tanh", 1.42790, 0.41714, 0.41629, 0.04109, 0.28872),
    ("erf", 1.50444, 0.43429, 0.47359, 0.05242, 0.33353),
    ("gelu", 1.54914, 0.52315, 0.42848, 0.08104, 0.50691),
]


@pytest.mark.parametrize(("phi", "h11", "h12", "g", "residual", "total"), SMOOTH)
def test_the_limit_of_a_smooth_nonlinearity_is_the_reference(
    phi: str, h11: float, h12: float, g: float, residual: float, total: float
) -> None:
    found = ntk_limit(phi, pair(0.3))
    ntk = found.value
    numbers = [*ntk.stream[-1, 0], ntk.gradient[0, 0, 1], ntk.residual[0, 1], ntk.total[0, 1]]
    np.testing.assert_allclose(numbers, [h11, h12, g, residual, total], atol=6e-6)
    assert found.residual < 1e-9 and found.steps > 0


def test_a_linear_network_is_known_in_closed_form() -> None:
    kx, depth = pair(0.3), 16
    limit = ntk_limit("linear", kx, places=(0, 0.25, 1)).value
    np.testing.assert_allclose(limit.stream[1], np.exp(0.25) * kx, rtol=1e-9)
    np.testing.assert_allclose(limit.gradient[1], np.exp(0.75), rtol=1e-9)
    np.testing.assert_allclose(limit.total, 3 * np.e * kx, rtol=1e-9)
    finite, growth = ntk_finite("linear", kx, depth), 1 + 1 / depth
    np.testing.assert_allclose(finite.readout, growth**depth * kx, rtol=1e-12)
    np.testing.assert_allclose(finite.input, growth**depth * kx, rtol=1e-12)
    np.testing.assert_allclose(finite.residual, growth ** (depth - 1) * kx, rtol=1e-12)


def test_the_squared_error_of_a_finite_depth_is_the_reference_and_falls_as_its_square() -> None:
    kx = np.stack([pair(np.cos(angle)) for angle in np.linspace(0, np.pi, 33)])
    limit = ntk_limit("sqrt2_relu", kx).value.total
    depths = 2 ** np.arange(1, 9)
    errors = [
        ((ntk_finite("sqrt2_relu", kx, int(depth)).total - limit)[:, 0, 1] ** 2).mean()
        for depth in depths
    ]
    reference = [0.936, 0.347, 0.109, 3.10e-2, 8.27e-3, 2.14e-3, 5.44e-4, 1.37e-4]
    np.testing.assert_allclose(errors, reference, rtol=5e-3)
    slope = np.polyfit(np.log(depths[4:]), np.log(errors[4:]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.05)


@pytest.mark.parametrize("phi", ["tanh", "gelu", "softplus", "erf", "abs", "relu"])
@pytest.mark.parametrize("readout", ["phi", "linear"])
def test_the_recursion_tends_to_the_equation(phi: str, readout: str) -> None:
    kx, beta = np.array([[1.2, 0.3], [0.3, 0.7]]), 1.4
    coarse, fine = (ntk_finite(phi, kx, depth, beta, readout) for depth in (64, 128))
    limit = ntk_limit(phi, kx, beta, readout, places=np.linspace(0, 1, 5)).value
    for name in limit._fields:
        one, two, at = getattr(coarse, name), getattr(fine, name), getattr(limit, name)
        if name in ("stream", "gradient"):
            one, two = one[::16], two[::32]
        np.testing.assert_allclose(2 * two - one, at, rtol=2e-3, atol=1e-3)
        assert np.abs(two - at).max() < 0.6 * np.abs(one - at).max() + 1e-9


F = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "sqrt2_relu": (lambda z: 2**0.5 * np.maximum(z, 0), lambda z: 2**0.5 * (z > 0)),
}


def sampled(phi: str, kx: Array, depth: int, width: int, nets: int) -> Array:
    """Tangent kernels of random networks, all layers trained, (nets, 2, 2)."""
    (f, slope), rng, found = F[phi], np.random.default_rng(1), []
    for _ in range(nets):
        h = [rng.standard_normal((width, 2)) @ np.linalg.cholesky(kx).T]
        weights = rng.standard_normal((depth, width, width)) / np.sqrt(depth * width)
        for w in weights:
            h.append(h[-1] + w @ f(h[-1]))
        g = rng.standard_normal((width, 1)) * slope(h[-1])
        total = f(h[-1]).T @ f(h[-1]) / width
        for w, stream in zip(weights[::-1], h[-2::-1], strict=True):
            total += (g.T @ g) * (f(stream).T @ f(stream)) / (width**2 * depth)
            g = g + slope(stream) * (w.T @ g)
        found.append(total + kx * (g.T @ g) / width)
    return np.array(found)


@pytest.mark.parametrize("phi", ["tanh", "relu"])
def test_a_wide_network_has_the_kernel(phi: str) -> None:
    kx, depth, nets = pair(0.5), 3, 24
    found = sampled(phi, kx, depth, 600, nets)
    error = found.std(axis=0, ddof=1) / np.sqrt(nets)
    assert (np.abs(found.mean(axis=0) - ntk_finite(phi, kx, depth).total) < 4 * error).all()


def test_a_kernel_scatters_by_one_over_width_and_not_more_in_deep_networks() -> None:
    """Our notes, section 5.6: it stays bounded in depth. Were it in proportion to depth, it would
    grow sixteenfold from 4 to 64 layers."""

    def scatter(depth: int, width: int) -> float:
        return width * float(sampled("sqrt2_relu", pair(0.5), depth, width, 150)[:, 0, 1].var())

    shallow, deep = scatter(4, 64), scatter(64, 64)
    assert 80 < shallow < deep < 4 * shallow < 900
    assert scatter(4, 16) == pytest.approx(scatter(4, 128), rel=0.5)


def test_lazy_training_with_a_small_rate_is_gradient_flow() -> None:
    kernel, y, p = np.array([[3, 1], [1, 2.0]]), np.array([1, -0.5]), np.array([0.7, 0.3])
    losses, outputs = lazy_training(kernel, y, p, 1e-4, 10_001)
    values, vectors = np.linalg.eig(kernel * p)
    decay = (vectors * np.exp(-values)) @ np.linalg.solve(vectors, y)
    np.testing.assert_allclose(y - outputs[-1], decay, rtol=2e-3)
    assert losses[-1] == pytest.approx(p @ (y - outputs[-1]) ** 2 / 2)
    assert losses[0] == pytest.approx(p @ y**2 / 2)


def test_a_step_without_responses_lacks_a_third_if_linear_and_a_fifth_if_tanh() -> None:
    kx = np.ones((1, 1))

    def share(phi: str, depth: int) -> float:
        without = kernel_without_responses(phi, kx, depth)
        return 1 - float((without / ntk_finite(phi, kx, depth).total)[0, 0])

    assert share("linear", 4096) == pytest.approx(1 / 3, abs=1e-4)
    assert [share("tanh", depth) for depth in (48, 96)] == pytest.approx([0.199, 0.199], abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"phi": "sine"}, "phi must be one of"),
        ({"kx": [[1, 2], [2, 1]]}, "no negative eigenvalue"),
        ({"kx": [[1, 0.2], [0.3, 1]]}, "must be symmetric"),
        ({"kx": [1, 2]}, "finite square matrix"),
        ({"kx": [[0.0]]}, "positive diagonal"),
        ({"beta": 0}, "beta must be positive and at most 10"),
        ({"readout": "tanh"}, "readout must be one of phi, linear"),
        ({"places": (0.5, 0.5)}, "places must ascend"),
    ],
)
def test_bad_input_is_named(changes: dict[str, object], sentence: str) -> None:
    given: dict[str, object] = {"phi": "tanh", "kx": pair(0.3), **changes}
    with pytest.raises(ValueError, match=sentence):
        ntk_limit(**given)  # pyright: ignore[reportArgumentType]


def test_a_depth_of_no_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="depth must be a whole number"):
        ntk_finite("tanh", pair(0.3), 0)


def test_a_loose_solver_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "TOLERANCE", 1e-2)
    with pytest.raises(NotConverged, match="lower beta, or extrapolate ntk_finite"):
        ntk_limit("linear", pair(0.3), beta=4.0)
