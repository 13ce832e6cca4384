"""Sampled deep networks at initialisation against the constants of the theory (sections 6.2 and
6.3 of the notes on Tensor Programs VI): one number as input, width 512,
multiplier 1. The constants are those of infinite depth, which 16 or 32 blocks already have."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.measurement import coordinates
from fathom.measurement.observe import observe, rms
from fathom.networks.stack import stack
from fathom.phi import phi, slope_kernel
from fathom.spec import Run

LARGE: dict[str, Any] = {"width": 512, "base_width": 512, "base_depth": 1, "task": "unit"}
LARGE |= {"batch": 1, "steps": 1, "train_ends": False}


def stream_rms(runs: list[Run]) -> float:
    """The size of the last layer over that of the first, averaged over seeds."""
    x = torch.ones(len(runs), 1, 1)
    with torch.no_grad():
        stream = observe(stack(runs), x).stream
    return float((rms(stream[-1]) / rms(stream[0])).mean())


@pytest.mark.parametrize(
    ("name", "variance", "rms"),
    [("relu", 0.3408, 1.17), ("abs", 0.3634, 1.20), ("linear", 1.0, 1.61)],
)
def test_the_stream_grows_by_what_the_nonlinearity_keeps(
    make_runs: MakeRuns, name: str, variance: float, rms: float
) -> None:
    # e^(a^2 v / 2), v = Var phi(z): 1/2 - 1/(2 pi), 1 - 2/pi and 1
    assert phi(name).centred_variance == pytest.approx(variance, abs=5e-5)
    found = stream_rms(make_runs(**LARGE, phi=name, center=True, depth=32, seed=list(range(1, 9))))
    assert found == pytest.approx(rms, rel=0.04)
    assert found == pytest.approx(math.exp(variance / 2), rel=0.04)


@pytest.mark.parametrize(
    ("name", "depth", "rms"),
    [("relu", 32, 4.9), ("relu", 128, 45.0), ("abs", 32, 37.0), ("abs", 128, 3300.0)],
)
def test_without_mean_subtraction_the_stream_blows_up_as_given(
    make_runs: MakeRuns, name: str, depth: int, rms: float
) -> None:
    # the growth rests on one direction, that of all ones, so that networks scatter
    found = stream_rms(make_runs(**LARGE, phi=name, center=False, depth=depth, seed=[1, 2, 3]))
    assert found == pytest.approx(rms, rel=0.35)


@pytest.mark.parametrize(
    ("name", "given"),
    [("linear", 0.996), ("kink(0.1)", 0.594), ("relu", 0.494), ("abs", -0.001), ("tanh", 0.766)],
)
def test_neighbouring_gradients_are_as_alike_as_given(
    make_runs: MakeRuns, name: str, given: float
) -> None:
    seeds = list(range(1, 5))
    runs = make_runs(**LARGE, phi=name, center=True, depth=16, log2_lr=-20, seed=seeds)
    found = np.mean([row["decorrelation"] for row in coordinates(runs)])
    assert found == pytest.approx(given, abs=0.06)


def test_tanh_is_less_diverse_than_abs_and_than_relu(make_runs: MakeRuns) -> None:
    alike = {}
    for name in ("abs", "relu", "tanh"):
        runs = make_runs(**LARGE, phi=name, center=True, depth=16, log2_lr=-20, seed=[1, 2])
        alike[name] = np.mean([row["decorrelation"] for row in coordinates(runs)])
    assert alike["abs"] < 0.1 < alike["relu"] < 0.6 < alike["tanh"]


@pytest.mark.parametrize(
    ("left", "one", "none"), [(-1.0, 1.0, 0.0), (0.0, 0.5, 0.25), (1.0, 1.0, 1.0)]
)
def test_the_coherent_drift_is_kept_at_correlation_one_and_lost_by_abs_at_none(
    left: float, one: float, none: float
) -> None:
    # mu^2 + nu^2 2/pi arcsin(rho), against an average over sampled pairs
    assert slope_kernel(left, 1.0) == pytest.approx(one)
    assert slope_kernel(left, 0.0) == pytest.approx(none)
    rng, rho = np.random.default_rng(1), 0.6
    z = rng.standard_normal((2, 200_000))
    y = rho * z[0] + math.sqrt(1 - rho**2) * z[1]
    slopes = [np.where(side > 0, 1.0, left) for side in (z[0], y)]
    assert slope_kernel(left, rho) == pytest.approx(float(np.mean(slopes[0] * slopes[1])), abs=0.01)
