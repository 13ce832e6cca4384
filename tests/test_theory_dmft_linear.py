"""Training of infinitely wide linear residual networks, all layers and gamma_0 finite."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from fathom.theory import linear
from fathom.theory.depth_limit import depth_limit
from fathom.theory.flow import kernel_without_responses, lazy_training, ntk_finite
from fathom.theory.linear_dmft import linear_dmft
from fathom.theory.one_datum import one_step_features, one_step_gradients, one_step_output
from fathom.theory.solution import Dynamics, NotConverged, Solution
from numpy.typing import NDArray

Array = NDArray[np.float64]
KX, Y, P = np.array([[1, 0.3], [0.3, 1]]), np.array([1.0, -1.0]), np.array([0.5, 0.5])
# depth; losses and H^L_11(t, t) at t = 0..7, for eta_0 0.08 and gamma_0 1
REFERENCE: dict[int, tuple[list[float], list[float]]] = {
    8: (
        [0.5, 0.313994, 0.190039, 0.104861, 0.050925, 0.021409, 0.007836, 0.002560],
        [2.56578, 2.60148, 2.73582, 2.92139, 3.12253, 3.30643, 3.45070, 3.54966],
    ),
    16: (
        [0.5, 0.306356, 0.179436, 0.093844, 0.041918, 0.015670, 0.004956, 0.001376],
        [2.63793, 2.67992, 2.83665, 3.05189, 3.28162, 3.48427, 3.63395, 3.72868],
    ),
    32: (
        [0.5, 0.302179, 0.173682, 0.087962, 0.037312, 0.012956, 0.003737, 0.000937],
        [2.67699, 2.72281, 2.89308, 3.12626, 3.37285, 3.58551, 3.73665, 3.82755],
    ),
}


def one_datum(depth: int, **changes: Any) -> Solution[Dynamics]:
    given = {"eta_0": 0.06, "gamma_0": 1, "steps": 15, **changes}
    return linear_dmft([[1]], [1], [1], depth, **given)


def end(found: Solution[Dynamics]) -> float:
    """H^L of the first sample at the last time."""
    return float(found.value.features[-1, -1, 0, -1, 0])


@pytest.mark.parametrize("depth", REFERENCE)
def test_losses_and_kernels_are_the_reference(depth: int) -> None:
    found = linear_dmft(KX, Y, P, depth, 0.08, 1, 8)
    losses, squares = REFERENCE[depth]
    np.testing.assert_allclose(found.value.losses, losses, atol=6e-7)
    kernel = np.einsum("tptp->tp", found.value.features[-1])[:, 0]
    np.testing.assert_allclose(kernel, squares, atol=6e-6)
    assert found.residual < 1e-12 and found.steps == 8


def test_without_responses_training_is_wrong_by_the_stated_share() -> None:
    one, two = (linear_dmft(KX, Y, P, L, 0.08, 1, 8, responses=False) for L in (8, 32))
    assert one.value.losses[[1, 5]] == pytest.approx([0.3666, 0.0770], abs=5e-5)
    assert two.value.losses[5] == pytest.approx(0.0668, abs=5e-5)
    assert two.residual > 1e-3  # <g h> then depends on the layer
    whole = one_datum(32, steps=2).value.outputs[1, 0]
    part = one_datum(32, steps=2, responses=False).value.outputs[1, 0]
    assert 1 - part / whole == pytest.approx(1 / 3, abs=0.01)
    assert part == pytest.approx(0.06 * kernel_without_responses("linear", [[1]], 32)[0, 0])


def test_a_step_without_responses_moves_features_by_less_than_half() -> None:
    """Section 5.7: e^tau (k + a^2 k^2 e (1 + 2 tau)) instead of the closed form; and the kernel
    between the start and one step on is that of the start, k e^tau."""
    a, tau = 0.5, np.linspace(0, 1, 9)

    def solve(depth: int, responses: bool) -> Solution[Dynamics]:
        return linear_dmft([[1]], [1], [1], depth, a, 1, 2, responses=responses)

    part, whole = (
        depth_limit(partial(solve, responses=way), (8, 16, 32, 64)).value.features
        for way in (False, True)
    )
    expected = np.exp(tau) * (1 + a**2 * np.e * (1 + 2 * tau))
    np.testing.assert_allclose(part[:, 1, 0, 1, 0], expected, rtol=3e-3)
    moved, needed = part[-1, 1, 0, 1, 0] - np.e, whole[-1, 1, 0, 1, 0] - np.e
    assert needed > 2 * moved > 0
    np.testing.assert_allclose(whole[:, 1, 0, 0, 0], np.exp(tau), rtol=3e-3)


def test_weak_feature_learning_is_the_ntk() -> None:
    found = linear_dmft(KX, Y, P, 16, 0.08, 0.01, 8).value
    losses, outputs = lazy_training(ntk_finite("linear", KX, 16).total, Y, P, 0.08, 8)
    np.testing.assert_allclose(found.losses, losses, atol=5e-6)
    np.testing.assert_allclose(found.outputs, outputs, atol=3e-5)
    assert found.losses[:5] == pytest.approx(
        [0.5, 0.306356, 0.187707, 0.115008, 0.070465], abs=6e-7
    )


@pytest.mark.parametrize(
    ("eta_0", "gamma_0", "shallow", "deep"),
    [(0.06, 0.1, 2.652, 2.706), (0.06, 1, 3.914, 4.024), (0.02, 3, 11.29, 11.81)],
)
def test_what_one_datum_ends_with_is_the_reference(
    eta_0: float, gamma_0: float, shallow: float, deep: float
) -> None:
    for depth, reference in ((16, shallow), (48, deep)):
        found = one_datum(depth, eta_0=eta_0, gamma_0=gamma_0)
        assert end(found) == pytest.approx(reference, abs=6e-3 if gamma_0 == 3 else 6e-4)
        np.testing.assert_allclose(found.value.gradients[0], found.value.features[-1], rtol=1e-12)


def test_the_limit_of_one_datum_is_the_extrapolated_reference() -> None:
    found = depth_limit(one_datum, (16, 32, 64))
    assert end(found) == pytest.approx(4.08, abs=5e-3)
    assert found.error.features[-1, -1, 0, -1, 0] < 2e-3


@pytest.mark.parametrize("train_ends", [True, False])
def test_one_step_in_the_limit_is_the_closed_form(train_ends: bool) -> None:
    k, eta_0, y, gamma_0 = 0.7, 0.4, 1.5, 0.8

    def solve(depth: int) -> Solution[Dynamics]:
        return linear_dmft([[k]], [y], [1], depth, eta_0, gamma_0, 2, train_ends=train_ends)

    found, tau = depth_limit(solve, (8, 16, 32, 64)).value, np.linspace(0, 1, 9)
    a = eta_0 * gamma_0 * y
    features = one_step_features(tau, a, k, train_ends)
    gradients = one_step_gradients(tau, a, k, train_ends)
    np.testing.assert_allclose(found.features[:, 1, 0, 1, 0], features, rtol=2e-4)
    np.testing.assert_allclose(found.gradients[:, 1, 0, 1, 0], gradients, rtol=2e-4)
    assert found.outputs[1, 0] == pytest.approx(one_step_output(eta_0, y, k, train_ends), rel=1e-4)


def test_one_step_at_finite_depth_is_the_reference() -> None:
    assert one_step_features(1, 0.5) == pytest.approx(18.728, abs=5e-4)
    for depth, reference in ((8, 13.95), (16, 16.03), (32, 17.29), (64, 17.98)):
        found = one_datum(depth, eta_0=0.5, steps=2)
        assert end(found) == pytest.approx(reference, abs=5e-3)


def test_blocks_alone_train_as_in_the_program_of_tensor_programs() -> None:
    steps, depth, xi = 5, 6, np.linalg.cholesky(KX)
    other = linear(
        np.tile(xi, (steps, 1, 1)), np.tile(Y[:, None], (steps, 1, 1)), depth, a=1.2, eta=0.2
    )
    found = linear_dmft(KX, Y, P, depth, 0.2, 1, steps, beta=1.2, train_ends=False).value
    np.testing.assert_allclose(found.outputs, other.outputs[..., 0], atol=1e-12)
    np.testing.assert_allclose(
        found.features, other.stream.reshape(found.features.shape), rtol=1e-10
    )


def test_the_error_of_a_finite_depth_falls_as_its_inverse() -> None:
    limit = end(depth_limit(one_datum, (16, 32, 64)))
    errors = [limit - end(one_datum(depth)) for depth in (16, 32, 64)]
    slope = np.polyfit(np.log([16, 32, 64]), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1, abs=0.05)


def test_a_rate_of_twice_the_edge_is_said_to_diverge() -> None:
    with pytest.raises(NotConverged, match=r"diverges at eta_0 = 3.*half of it takes twice"):
        linear_dmft(KX, Y, P, 4, 3, 1, 30)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y": [1, 2, 3]}, "y and p .samples,., not"),
        ({"kx": [[1, 2], [2, 1]]}, "no negative eigenvalue"),
        ({"depth": 2.5}, "depth must be a whole number"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"gamma_0": 0}, "gamma_0 must be a positive number"),
        ({"p": [1, -1]}, "p finite and not negative"),
        ({"depth": 400, "steps": 300}, "GB, beyond the budget of 4 GB: depth . steps . samples"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], sentence: str) -> None:
    given = {"kx": KX, "y": Y, "p": P, "depth": 4, "eta_0": 0.1, "gamma_0": 1, "steps": 3}
    with pytest.raises(ValueError, match=sentence):
        linear_dmft(**{**given, **changes})


@pytest.mark.parametrize("depths", [(8,), (8, 12), (16, 8), ()])
def test_depths_that_share_no_layers_are_refused(depths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending and multiples of the first"):
        depth_limit(one_datum, depths)


def test_depths_that_are_too_small_say_what_to_append() -> None:
    with pytest.raises(NotConverged, match="append depth 4, which takes two to four"):
        depth_limit(one_datum, (1, 2), tolerance=1e-3)
