"""Training of infinitely wide nonlinear residual networks, by Monte Carlo."""

from typing import Any

import numpy as np
import pytest
from fathom.store import ROOT
from fathom.theory.depth_limit import depth_limit
from fathom.theory.dmft import dmft, dmft_cost
from fathom.theory.flow import kernel_without_responses, lazy_training, ntk_finite, ntk_limit
from fathom.theory.jets import JETS
from fathom.theory.linear_dmft import linear_dmft
from fathom.theory.solution import Dynamics, NotConverged, Solution
from fathom.theory.sources import append, frame
from numpy.typing import NDArray

Array = NDArray[np.float64]
KX, Y, P = np.array([[1, 0.3], [0.3, 0.8]]), np.array([1.0, -0.5]), np.array([0.6, 0.4])


def one_datum(**changes: Any) -> Solution[Dynamics]:
    """Reference (c) of section 5.5."""
    given = {"depth": 4, "eta_0": 0.25, "gamma_0": 2, "steps": 6, "sites": 40_000, **changes}
    return dmft(given.pop("phi", "tanh"), [[1]], [given.pop("y", 2)], [1], **given)


@pytest.fixture(scope="module")
def reference() -> Solution[Dynamics]:
    return one_datum(sites=60_000)


def test_outputs_and_kernels_are_the_reference(reference: Solution[Dynamics]) -> None:
    outputs, error = reference.value.outputs[:, 0], reference.error.outputs[:, 0]
    assert abs(outputs[0]) < 1e-12
    np.testing.assert_allclose(outputs[1:], [0.367, 0.687, 0.967, 1.2005, 1.387], atol=2e-3)
    assert error.max() < 1e-3
    kernel = np.einsum("tptp->t", reference.value.features[-1])
    np.testing.assert_allclose(kernel, [0.457, 0.641, 0.753, 0.826, 0.870, 0.897], atol=4e-3)
    first = ntk_finite("tanh", [[1]], 4).readout[0, 0]
    assert kernel[0] == pytest.approx(first, abs=4 * reference.error.features[-1].max())
    # sampled networks of width 800, with their standard errors
    sampled, spread = [0.3680, 0.6871, 0.9665, 1.1991, 1.3859], np.array([22, 18, 14, 12, 10]) / 1e4
    assert (np.abs(outputs[1:] - sampled) < 3 * np.hypot(spread, error[1:])).all()


def test_without_the_equal_time_response_the_second_step_is_wrong(
    reference: Solution[Dynamics],
) -> None:
    found = one_datum(sites=60_000, steps=3, equal_time=False)
    moved = found.value.outputs[:, 0] - reference.value.outputs[:3, 0]
    assert moved[1] == pytest.approx(0, abs=1e-12)  # S(0, 0) = 0
    assert moved[2] == pytest.approx(0.6908 - 0.6871, abs=4e-4)  # the same sites, so less noise
    assert found.residual > 5 * reference.residual


def test_a_linear_network_comes_out_exactly() -> None:
    given = (KX, Y, P, 3, 0.3, 1.0, 4)
    exact, found = linear_dmft(*given, beta=1.3), dmft("linear", *given, beta=1.3, sites=1600)
    for one, two in zip(exact.value, found.value, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-12)
    assert found.residual < 1e-12 and found.error.outputs.max() < 1e-12
    exact = linear_dmft(*given, responses=False)
    found = dmft("linear", *given, responses=False, sites=1600)
    np.testing.assert_allclose(exact.value.outputs, found.value.outputs, atol=1e-12)


@pytest.mark.parametrize("phi", ["tanh", "gelu", "erf", "softplus"])
def test_weak_feature_learning_is_the_ntk(phi: str) -> None:
    found = dmft(phi, KX, Y, P, 4, 0.3, 0.02, 4, sites=16_000)
    kernel = ntk_finite(phi, KX, 4).total
    _, outputs = lazy_training(kernel, Y, P, 0.3, 4)
    error = found.error.outputs.max()
    assert np.abs(found.value.outputs - outputs).max() < 4 * error < 0.025


@pytest.mark.parametrize(("phi", "share"), [("tanh", 0.194), ("softplus", 0.070)])
def test_the_first_step_needs_the_responses(phi: str, share: float) -> None:
    # section 5.3 says about 12 % of softplus: not so of this one, see the next test
    eta_0 = 0.02
    given = {"phi": phi, "y": 1, "gamma_0": 1, "eta_0": eta_0, "depth": 8, "steps": 2}
    full, part = (one_datum(**given, responses=way) for way in (True, False))
    kernels = ntk_finite(phi, [[1]], 8).total, kernel_without_responses(phi, [[1]], 8)
    for found, kernel in zip((full, part), kernels, strict=True):
        slope, error = found.value.outputs[1, 0] / eta_0, found.error.outputs[1, 0] / eta_0
        assert slope == pytest.approx(kernel[0, 0], abs=4 * error + 2e-3)
        assert error < 0.01
    assert 1 - kernels[1][0, 0] / kernels[0][0, 0] == pytest.approx(share, abs=2e-3)
    ratio = part.value.outputs[1, 0] / full.value.outputs[1, 0]
    assert 1 - ratio == pytest.approx(share, abs=0.01)


def test_a_softplus_that_is_0_at_0_has_the_share_that_the_notes_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shares() -> list[float]:
        kernels = (
            (ntk_finite("softplus", [[1]], L).total, kernel_without_responses("softplus", [[1]], L))
            for L in (2, 4, 8, 16, 32, 48)
        )
        return [1 - float(part[0, 0] / whole[0, 0]) for whole, part in kernels]

    plain, jet = shares(), JETS["softplus"]
    assert plain == pytest.approx([0.058, 0.066, 0.070, 0.073, 0.074, 0.075], abs=1e-3)
    monkeypatch.setitem(JETS, "softplus", lambda z: (jet(z)[0] - np.log(2), *jet(z)[1:]))
    assert shares() == pytest.approx([0.117, 0.124, 0.128, 0.130, 0.131, 0.132], abs=1e-3)


def test_the_example_of_the_guide_is_solved_to_its_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / "docs" / "guide.md").read_text()
    (example,) = [part for part in text.split("```") if "dmft(" in part and "import" in part]
    seen: dict[str, Any] = {}
    exec(example, seen)
    assert "0.5" in capsys.readouterr().out
    losses, deep = seen["found"].value.losses, seen["deep"].value.losses
    assert (np.diff(losses) < 0).all() and (np.diff(deep) < 0).all()
    assert np.abs(losses - deep).max() < 0.05


def test_without_responses_a_step_of_tanh_lacks_a_fifth_at_every_depth() -> None:
    reference = {2: 0.167, 8: 0.184, 32: 0.195}
    for depth, share in reference.items():
        given = {"depth": depth, "eta_0": 0.1, "y": 1, "gamma_0": 1, "steps": 2}
        given["sites"] = 20_000
        full, part = (
            one_datum(**given, responses=way).value.outputs[1, 0] for way in (True, False)
        )
        assert 1 - part / full == pytest.approx(share, abs=0.01)


def test_first_kernels_are_those_of_the_flow() -> None:
    found = dmft("gelu", KX, Y, P, 6, 0.1, 1, 1, sites=40_000)
    kernels = ntk_finite("gelu", KX, 6)
    gradient = np.abs(found.value.gradients[:, 0, :, 0] - kernels.gradient).max()
    assert gradient < 4 * found.error.gradients.max() < 0.04
    last = np.abs(found.value.features[-1, 0, :, 0] - kernels.readout).max()
    assert last < 4 * found.error.features.max() < 0.03


def test_infinite_depth_follows_from_three_depths() -> None:
    def solve(depth: int) -> Solution[Dynamics]:
        return one_datum(depth=depth, steps=2, gamma_0=0.1, sites=40_000)

    found = depth_limit(solve, (2, 4, 8))
    kernel = ntk_limit("tanh", [[1]]).value
    assert found.value.outputs[1, 0] == pytest.approx(
        0.5 * kernel.total[0, 0], abs=4 * found.error.outputs[1, 0]
    )
    assert found.value.gradients.shape[0] == 3
    assert found.error.outputs[1, 0] < 0.02


def test_the_standard_error_covers_what_another_seed_finds() -> None:
    one, two = (one_datum(sites=20_000, seed=seed) for seed in (1, 2))
    scale = np.hypot(one.error.outputs, two.error.outputs).max()
    assert 0 < np.abs(one.value.outputs - two.value.outputs).max() < 4 * scale


def test_a_seed_fixes_the_numbers_and_more_steps_do_not_change_earlier_ones() -> None:
    one, again, longer = (one_datum(sites=3_000, steps=steps) for steps in (3, 3, 4))
    for left, right in zip(one.value, again.value, strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(longer.value.outputs[:3], one.value.outputs, atol=1e-12)
    kernel = longer.value.gradients[:, :3, :, :3]
    np.testing.assert_allclose(kernel, one.value.gradients, atol=1e-12)


def test_the_responses_identity_holds_to_sampling_error(reference: Solution[Dynamics]) -> None:
    few = one_datum(sites=5_000)
    assert reference.residual < 0.02 < few.residual < 0.1


def test_normals_of_a_group_are_white_in_the_sample() -> None:
    drawn = frame(np.random.default_rng(0), 60, 70)
    for group in (drawn[:, :30], drawn[:, 30:60], drawn[:, 60:]):
        np.testing.assert_allclose(group.T @ group / 60, np.eye(group.shape[1]), atol=1e-12)
        np.testing.assert_allclose(group.mean(axis=0), 0, atol=1e-12)


def test_a_factor_grows_row_by_row_through_a_singular_covariance() -> None:
    fields = np.random.default_rng(0).standard_normal((5, 3)) @ [
        [1, 0, 0.5, 1],
        [0, 1, 2, 1],
        [1, 1, 0, 0],
    ]
    kernel = fields.T @ fields
    kernel = np.block([[kernel, kernel], [kernel, kernel]])
    factor = np.zeros_like(kernel)
    for start in range(0, 8, 2):
        append(factor, kernel, slice(start, start + 2))
    np.testing.assert_allclose(factor @ factor.T, kernel, atol=1e-10)
    assert (np.diagonal(factor) > 0).sum() == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"phi": "relu"}, "needs a smooth phi of linear, tanh, erf, gelu, softplus, not relu"),
        ({"replicas": 1}, "at least 2 replicas"),
        ({"sites": 30}, "at least 16 sites each"),
        ({"depth": 300, "steps": 30, "y": 1}, "beyond the budget.*sites would fit"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        one_datum(**changes)


def test_too_few_sites_are_said_with_the_price_of_enough() -> None:
    with pytest.raises(NotConverged, match=r"raise sites to [0-9]+, which takes about .* GB"):
        one_datum(sites=400, tolerance=1e-3)


@pytest.mark.slow
def test_training_on_four_samples_fits_in_a_minute_and_in_the_memory_foreseen() -> None:
    kx = np.array([[1, 0.3, 0.1, -0.2], [0.3, 1, 0.2, 0.3], [0.1, 0.2, 1, 0], [-0.2, 0.3, 0, 1]])
    y, p = np.array([1, -1, 0.5, -0.5]), np.full(4, 0.25)
    found = dmft("tanh", kx, y, p, 16, 0.5, 1, 10)
    assert found.error.outputs.max() < 0.015 and found.residual < 0.03
    assert (np.diff(found.value.losses) < 0).all()
    cost = dmft_cost(16, 10, 4, 4000)
    assert cost.gigabytes < 1 and cost.seconds < 60
