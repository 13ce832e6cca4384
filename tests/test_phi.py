import numpy as np
import pytest
import torch
from fathom.networks.layers import nonlinearity
from fathom.phi import PHI, coherence, kappa, phi

Z = np.array([-3.0, -1.2, -0.4, -0.1, 0.1, 0.3, 1.1, 2.7])
EVERY = pytest.mark.parametrize("name", list(PHI))


@EVERY
def test_theory_and_networks_share_the_function(name: str) -> None:
    found = nonlinearity(name)(torch.from_numpy(Z)).numpy()
    np.testing.assert_allclose(found, PHI[name].f(Z), rtol=1e-14)


@EVERY
def test_df_is_the_derivative_of_f(name: str) -> None:
    f, step = PHI[name].f, 1e-6
    slope = (f(Z + step) - f(Z - step)) / (2 * step)
    np.testing.assert_allclose(PHI[name].df(Z), slope, atol=1e-9)


@pytest.mark.parametrize(("name", "gain"), [("linear", 1.0), ("abs", 1.0), ("relu", 2.0)])
def test_init_gain_is_known_in_closed_form(name: str, gain: float) -> None:
    assert PHI[name].init_gain == pytest.approx(gain, rel=1e-9)


@EVERY
def test_init_gain_keeps_the_second_moment_of_sampled_preactivations(name: str) -> None:
    z = np.random.default_rng(0).standard_normal(400_000)
    assert PHI[name].init_gain * np.mean(PHI[name].f(z) ** 2) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("name", "value"), [("linear", 1.0), ("abs", 1.0), ("relu", 2.0)])
def test_kappa_is_known_in_closed_form(name: str, value: float) -> None:
    assert kappa(name) == pytest.approx(value, rel=1e-9)


@EVERY
def test_kappa_agrees_with_samples(name: str) -> None:
    slope = PHI[name].df(np.random.default_rng(1).standard_normal(400_000))
    sampled = np.mean(slope**4) / np.mean(slope**2) ** 2
    assert kappa(name) == pytest.approx(sampled, rel=0.01)


@pytest.mark.parametrize("left", [1.0, 0.5, 0.1, 0.0, -0.25, -0.75, -1.0])
def test_coherence_is_the_squared_mean_of_sampled_slopes_over_their_mean_square(
    left: float,
) -> None:
    slope = phi(f"kink({left})").df(np.random.default_rng(2).standard_normal(400_000))
    assert coherence(left) == pytest.approx(slope.mean() ** 2 / np.mean(slope**2), abs=0.004)


def test_coherence_falls_from_linear_to_abs_and_is_a_half_for_relu() -> None:
    assert [coherence(left) for left in (1.0, 0.0, -1.0)] == [1.0, 0.5, 0.0]
