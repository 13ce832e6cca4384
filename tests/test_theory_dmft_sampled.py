"""Training in the limit against sampled networks of finite width, trained by plain numpy."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from fathom.theory.dmft import dmft
from fathom.theory.linear_dmft import linear_dmft
from fathom.theory.solution import Dynamics, Solution
from numpy.typing import NDArray

Array = NDArray[np.float64]
KX, Y, P = np.array([[1, 0.3], [0.3, 0.8]]), np.array([1.0, -1.5]), np.array([0.6, 0.4])
DEPTH, GAMMA_0, STEPS, BETA = 4, 1.5, 4, 1.2
RATES = {"linear": 0.05, "tanh": 0.25, "softplus": 0.15}
FUNCTIONS = {
    "linear": (lambda z: z, np.ones_like),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (lambda z: np.logaddexp(0, z), lambda z: 1 / (1 + np.exp(-z))),
}


class Seen(NamedTuple):
    """Outputs (steps, samples); for the first sample, kernels of every layer between the last
    time and all times, (layers + 1, steps)."""

    outputs: Array
    features: Array
    gradients: Array


def network(phi: str, width: int, seed: int) -> Seen:
    """A residual MLP trained by gradient descent, its function at the start subtracted."""
    f, slope = FUNCTIONS[phi]
    rng, inputs = np.random.default_rng([width, seed]), np.linalg.cholesky(KX)
    w_in, w_out = rng.standard_normal((width, 2)), rng.standard_normal(width)
    blocks = rng.standard_normal((DEPTH, width, width))
    scale, read = BETA / np.sqrt(DEPTH * width), 1 / (GAMMA_0 * width)
    start, outputs, streams, gradients = np.zeros(2), [], [], []
    for step in range(STEPS):
        h = [w_in @ inputs.T]
        for block in blocks:
            h.append(h[-1] + scale * block @ f(h[-1]))
        raw = read * w_out @ f(h[-1])
        start = start if step else raw
        outputs.append(raw - start)
        pull = RATES[phi] * GAMMA_0**2 * width * P * (Y - outputs[-1])
        g, changes = [read * w_out[:, None] * slope(h[-1])], []
        for block, stream in zip(blocks[::-1], h[-2::-1], strict=True):
            changes.append(scale * (pull * g[-1]) @ f(stream).T)
            g.append(g[-1] + slope(stream) * (scale * block.T @ g[-1]))
        w_out = w_out + read * f(h[-1]) @ pull
        w_in = w_in + (pull * g[-1]) @ inputs
        blocks = blocks + np.stack(changes[::-1])
        streams.append(np.stack([f(one)[:, 0] for one in h]))
        gradients.append(np.stack([one[:, 0] for one in g[::-1]]) / read)
    kernels = (
        np.einsum("tln,ln->lt", np.stack(part), part[-1]) / width for part in (streams, gradients)
    )
    return Seen(np.stack(outputs), *kernels)


def theory(phi: str, **changes: Any) -> Solution[Dynamics]:
    if phi == "linear":
        return linear_dmft(KX, Y, P, DEPTH, RATES[phi], GAMMA_0, STEPS, beta=BETA, **changes)
    given = {"beta": BETA, "sites": 40_000, **changes}
    return dmft(phi, KX, Y, P, DEPTH, RATES[phi], GAMMA_0, STEPS, **given)


def distance(phi: str, width: int, nets: int, found: Solution[Dynamics]) -> Seen:
    """How far the networks' means lie from the theory, in their joint standard errors."""
    each = zip(*(network(phi, width, seed) for seed in range(nets)), strict=True)
    parts = []
    for name, values in zip(Seen._fields, map(np.stack, each), strict=True):
        at, error = getattr(found.value, name), getattr(found.error, name)
        if name != "outputs":
            at, error = at[:, -1, 0, :, 0], error[:, -1, 0, :, 0]
        joint = np.hypot(values.std(axis=0, ddof=1) / nets**0.5, error)
        parts.append(np.abs(values.mean(axis=0) - at) / np.maximum(joint, 1e-9))
    return Seen(*parts)


@pytest.mark.parametrize(
    ("width", "nets"), [(500, 16), pytest.param(800, 30, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("phi", RATES)
def test_networks_train_as_the_theory_says(phi: str, width: int, nets: int) -> None:
    found = theory(phi)
    assert found.value.losses[-1] < 0.7 * found.value.losses[0]
    for part in distance(phi, width, nets, found):
        assert part.max() < 4.5  # joint standard errors; up to 20 numbers, few networks


@pytest.mark.parametrize("missing", ["responses", "equal_time"])
def test_networks_tell_a_theory_without_responses_apart(missing: str) -> None:
    far = distance("tanh", 500, 16, theory("tanh", **{missing: False}))
    assert far.features.max() > 5


@pytest.mark.slow
def test_the_scatter_of_networks_falls_as_the_square_root_of_the_width() -> None:
    scatter = [
        np.std([network("tanh", width, seed).outputs[-1] for seed in range(40)], axis=0).mean()
        for width in (128, 512)
    ]
    assert np.log(scatter[0] / scatter[1]) / np.log(4) == pytest.approx(0.5, abs=0.2)
