"""Infinite networks against sampled finite ones, trained by plain SGD in numpy."""

import math

import numpy as np
import pytest
from fathom.theory import SMOOTH, linear, nonlinear, output_kernel
from numpy.typing import NDArray

Array = NDArray[np.float64]


def alike(steps: int) -> Array:
    """The number 1 at every step."""
    return np.ones((steps, 1, 1))


def sampled(
    width: int,
    nets: int,
    xi: Array,
    y: Array,
    depth: int,
    phi: str = "",
    *,
    alpha: float = 0.5,
    gamma: float = 0.5,
    a: float = 1.0,
    eta: float = 1.0,
) -> tuple[Array, Array, Array]:
    """Finite networks by plain SGD, (nets, steps, ...): outputs, mean squares of the last
    layer (first sample), and how far the gradient after U points along U (first input)."""
    scale, rate = a * depth**-alpha, eta * depth ** (alpha - gamma)
    rng = np.random.default_rng(width)
    w = rng.standard_normal((depth, nets, width, width)) / math.sqrt(width)
    u = rng.standard_normal((nets, width, xi.shape[2]))
    v = rng.standard_normal((nets, width, y.shape[2])) / width

    def centred(values: Array) -> Array:
        return values - values.mean(axis=1, keepdims=True) if phi else values

    seen = []
    for now, target in zip(xi, y, strict=True):
        x, slopes = [u @ now.T], []
        for weight in w:
            h = weight @ x[-1]
            slopes.append(SMOOTH[phi].d1(h) if phi else np.ones_like(h))
            x.append(x[-1] + scale * centred(SMOOTH[phi].f(h) if phi else h))
        f = np.swapaxes(v, 1, 2) @ x[-1]
        dx = v @ (f - target.T) / len(target)
        for weight, slope, read in zip(w[::-1], slopes[::-1], x[-2::-1], strict=True):
            dh = scale * slope * centred(dx)
            dx = dx + np.swapaxes(weight, 1, 2) @ dh
            weight -= rate * dh @ np.swapaxes(read, 1, 2)
        square, along = (x[-1][..., 0] ** 2).mean(1), (dx[..., 0] * u[..., 0]).sum(1)
        seen.append((np.swapaxes(f, 1, 2), square, along))
    outputs, squares, alongs = (np.stack(parts, axis=1) for parts in zip(*seen, strict=True))
    return outputs, squares, alongs


def scatter(found: Array, limit: Array) -> float:
    """The root mean square over entries of a network's error, averaged over networks."""
    return float(np.sqrt(((found - limit) ** 2).mean(axis=tuple(range(1, found.ndim)))).mean())


def bias(found: Array, limit: Array) -> float:
    """The error of the mean over networks, in units of what their scatter explains."""
    return scatter(found.mean(axis=0)[None], limit) / scatter(found, limit) * len(found) ** 0.5


def test_networks_scatter_about_the_limit_by_one_over_the_root_of_width() -> None:
    one = alike(6)
    limit = linear(one, one, 16, eta=0.3)
    small, large = sampled(64, 60, one, one, 16, eta=0.3), sampled(256, 24, one, one, 16, eta=0.3)
    ratio = scatter(small[0], limit.outputs) / scatter(large[0], limit.outputs)
    assert ratio == pytest.approx(2, rel=0.2)
    assert bias(large[0], limit.outputs) < 3
    assert bias(large[1], limit.stream[-1].diagonal()) < 3
    assert bias(large[2], limit.kets[1][0, :, 0]) < 3


@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 0.5), (0.75, 0.25)])
def test_batches_of_vectors_follow_the_same_law(alpha: float, gamma: float) -> None:
    rng = np.random.default_rng(5)
    data = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 2))
    limit = linear(*data, 16, alpha=alpha, gamma=gamma, eta=0.3).outputs
    small, large = (
        sampled(n, nets, *data, 16, alpha=alpha, gamma=gamma, eta=0.3)[0]
        for n, nets in ((64, 40), (256, 10))
    )
    assert scatter(small, limit) / scatter(large, limit) == pytest.approx(2, rel=0.2)
    assert bias(large, limit) < 3


def test_the_recursion_at_rate_one_is_the_given_one() -> None:
    expected = [0, 2.48276, 0.02416, 0.25227, 0.60152, 1.06527]
    found = linear(alike(6), alike(6), 16).outputs[:, 0, 0]
    np.testing.assert_allclose(found, expected, atol=5.1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "nets", "given"), [(128, 100, 0.28), (512, 16, 0.143), (1448, 8, 0.066)]
)
def test_networks_at_rate_one_scatter_by_as_much_as_given(
    width: int, nets: int, given: float
) -> None:
    found, limit = (
        sampled(width, nets, alike(6), alike(6), 16)[0],
        linear(alike(6), alike(6), 16).outputs,
    )
    # one network's error varies by about half of itself, so that a mean of 8 is known to a sixth,
    # and two such means lie within half of each other
    assert scatter(found, limit) == pytest.approx(given, rel=0.3 if nets > 8 else 0.5)
    if width > 1000:  # the mean over networks deviates by at most 0.015, one standard error
        error = found.std(axis=0, ddof=1).max() / math.sqrt(nets)
        assert np.abs(found.mean(axis=0) - limit).max() < 4 * error


@pytest.mark.parametrize(("phi", "a", "eta"), [("tanh", 1.5, 0.4), ("gelu", 1.5, 0.1)])
def test_gradients_of_networks_tell_the_complete_equations_from_the_printed_ones(
    phi: str, a: float, eta: float
) -> None:
    """After one step the gradient points along the input matrix by an amount that is nothing
    but the drift of the backward equation: for tanh -0.075 (complete), -0.115 (corrected),
    -0.169 (printed); for GELU -0.222, -0.299, -0.168."""
    one = alike(2)
    found = sampled(128, 60, one, one, 32, phi, a=a, eta=eta)[2][:, 1]
    error = found.std(ddof=1) / math.sqrt(len(found))
    for equations in ("complete", "corrected", "printed"):
        limit = nonlinear(one, one, 32, phi=phi, a=a, eta=eta, equations=equations)
        gap = abs(found.mean() - limit.kets[1][0, 1, 0])
        assert (gap < 4 * error) == (equations == "complete")


@pytest.mark.slow
def test_networks_grow_as_the_complete_equations_say_and_not_as_printed() -> None:
    one, depth = alike(5), 64
    parts = [sampled(n, 24, one, one, depth, "tanh", a=1.5, eta=0.4) for n in (255, 256, 257)]
    outputs, squares = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    growth = squares[:, 4] - squares[:, 0]
    error, gaps = growth.std(ddof=1) / math.sqrt(len(growth)), []
    for equations in ("complete", "printed"):
        limit = nonlinear(one, one, depth, a=1.5, eta=0.4, equations=equations)
        ends = output_kernel(limit)[4, 0, 4, 0] - output_kernel(limit)[0, 0, 0, 0]
        away = np.sqrt(((limit.outputs - outputs.mean(axis=0)) ** 2).mean())
        gaps.append((abs(ends - growth.mean()), away))
    assert gaps[0][0] < 4 * error < gaps[1][0]
    assert gaps[0][1] < 0.6 * gaps[1][1]
