"""Smooth functions of the compiled kernels beside float64, and training with them beside torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.networks.stack import stack
from fathom.networks.tasks import task
from fathom.phi import phi
from fathom.spec import Net, Run
from fathom.training import compiled
from fathom.training.kernels import smooth
from fathom.training.train import train
from numba import njit
from torch import Tensor, nn

POINTS = np.concatenate([np.linspace(-12, 12, 200001), np.geomspace(1e-30, 1, 1001)]).astype("f4")
FUNCTIONS = {"tanh": smooth.tanh, "gelu": smooth.gelu}
ULP = float(np.spacing(np.float32(0.5)))  # the least step of a number just below 1


def along(name: str, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The function of a name and its slope as a kernel computes them, many at a time."""
    f: Callable[[np.float32], tuple[np.float32, np.float32]] = FUNCTIONS[name]

    @njit(error_model="numpy")
    def each(z: np.ndarray, out: np.ndarray, slope: np.ndarray) -> None:
        for i in range(z.size):
            out[i], slope[i] = f(z[i])

    out, slope = np.empty_like(z), np.empty_like(z)
    each(z, out, slope)
    return out, slope


def test_the_exponential_is_that_of_numpy_down_to_where_it_vanishes() -> None:
    y = np.linspace(-87, 0, 1001, dtype=np.float32)
    found = np.array([smooth.exponential(one) for one in y])
    np.testing.assert_allclose(found, np.exp(y.astype(float)), rtol=5e-7)
    bad = [smooth.exponential(np.float32(one)) for one in (-88, -1e30, 0, np.nan, -np.inf)]
    assert max(bad[:2]) < 2e-38 and bad[2] == 1 and np.isnan(bad[3:]).all()


def test_tanh_is_within_seven_last_digits_of_float64_and_its_slope_of_one() -> None:
    (found, slope), exact = along("tanh", POINTS), np.tanh(POINTS.astype(float))
    away = np.abs(found - exact) / np.spacing(np.abs(exact).astype("f4"))
    assert away.max() < 7 and away.mean() < 1
    np.testing.assert_allclose(slope, phi("tanh").df(POINTS.astype(float)), atol=14 * ULP)
    assert slope.min() >= 0 and np.abs(found).max() == 1


def test_gelu_and_its_slope_are_within_a_few_last_digits_of_1_of_float64_as_torchs_are() -> None:
    (found, slope), z = along("gelu", POINTS), POINTS.astype(float)
    largest, known = np.maximum(1, np.abs(z)), phi("gelu")
    assert (np.abs(found - known.f(z)) / largest).max() < 4 * ULP
    assert np.abs(slope - known.df(z)).max() < 6 * ULP
    theirs = torch.nn.functional.gelu(torch.from_numpy(POINTS)).numpy()
    assert np.abs(found - known.f(z)).max() < np.abs(theirs - known.f(z)).max()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_slope_is_that_of_the_function(name: str) -> None:
    z = np.linspace(-6, 6, 2401, dtype=np.float32)
    step = np.float32(2**-7)  # z +- step are numbers of their own; the third derivative is below 2
    (above, _), (below, _), (_, slope) = (along(name, one) for one in (z + step, z - step, z))
    apart = (above.astype(float) - below) / (z + step - (z - step))
    np.testing.assert_allclose(apart, slope, atol=float(2 * step**2 / 6 + 16 * ULP / step))


def test_tanh_is_odd_to_the_last_bit_and_the_gelu_of_both_signs_lies_z_apart() -> None:
    (right, slope), (left, mirrored) = along("tanh", POINTS), along("tanh", -POINTS)
    assert np.array_equal(right, -left) and np.array_equal(slope, mirrored)
    z = np.abs(POINTS)
    (right, _), (left, _) = along("gelu", z), along("gelu", -z)
    np.testing.assert_allclose(right - left, z, atol=2 * ULP, rtol=2 * ULP)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_not_a_number_stays_so(name: str) -> None:
    z = np.full(33, np.nan, np.float32)
    assert np.isnan(along(name, z)).all()
    assert np.array_equal(along("tanh", np.array([-np.inf, np.inf], "f4"))[0], [-1, 1])


class Written(nn.Module):
    """A residual MLP or a chain as a user would write it, beginning with given weights."""

    def __init__(self, net: Net, weights: list[Tensor]) -> None:
        super().__init__()
        self.net, self.phi = net, {"tanh": torch.tanh, "gelu": nn.functional.gelu}[net.phi]
        self.weights = nn.ParameterList(weight.clone() for weight in weights)

    def forward(self, x: Tensor) -> Tensor:
        net, (stem, *blocks, readout) = self.net, self.weights
        h = x @ stem
        if net.family == "mlp":
            for weight in (*blocks, readout):
                h = self.phi(h) @ weight
            return h
        for first in range(0, len(blocks), net.block_depth):
            z = nn.functional.layer_norm(h, h.shape[-1:]) if net.norm == "layer" else h
            for weight in blocks[first : first + net.block_depth]:
                z = self.phi(z) @ weight if net.order == "pre" else self.phi(z @ weight)
            h = h + net.gain * (z - z.mean(1, keepdim=True) if net.center else z)
        return (self.phi(h) if net.order == "pre" else h) @ readout


def by_hand(run: Run) -> np.ndarray:
    """The losses of a run at its base size, by torch's own optimizer."""
    model = Written(run.net, [weight[0] for weight in stack([run]).weights])
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[run.optim.kind]
    optimizer, about, curve = kind(model.parameters(), 2.0**run.optim.log2_lr), task(run.task), []
    for rows in about.batches(run.seed, run.optim.batch, run.optim.steps):
        loss = nn.functional.cross_entropy(model(about.x[rows]), about.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return np.array(curve)


NETS: list[dict[str, Any]] = [{"family": "mlp", "rules": "sp"}] + [
    {"order": order, "block_depth": size, "gain": 0.7, **more}
    for order in ("pre", "post")
    for size in (1, 2)
    for more in ({}, {"center": True, "norm": "layer"})
]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("net", NETS)
def test_ten_steps_are_those_of_a_module_written_by_hand(
    make_runs: MakeRuns, net: dict[str, Any], name: str, kind: str
) -> None:
    size: dict[str, Any] = {"width": 24, "base_width": 24, "depth": 4, "base_depth": 4}
    rate = {"sgd": -4, "adam": -7}[kind]
    run, other = (
        make_runs(**net, **size, phi=one, kind=kind, log2_lr=rate, steps=10)[0]
        for one in (name, {"tanh": "gelu", "gelu": "tanh"}[name])
    )
    assert compiled.covers(run)
    losses = by_hand(run)
    np.testing.assert_allclose(train([run]).loss[0], losses, rtol=1e-5)
    assert np.abs(train([other]).loss[0] / losses - 1).max() > 1e-3
