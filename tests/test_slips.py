"""Slips of public code for Depthwise transfer that our notes record (sections 3.3, 3.4, 6 and 8,
traps), and that none of them is made here. What it costs to drop responses: test_theory_dmft.py."""

import math
from typing import Any

import pytest
import test_lm
import test_measurement
import torch
from by_hand import losses
from conftest import MakeRuns
from fathom.networks.stack import rate, stack
from fathom.networks.tasks import task
from fathom.spec import FAMILIES, Run
from fathom.training import autograd
from fathom.training.train import learned, train
from torch import nn

SIZES: dict[str, dict[str, Any]] = {
    "lm": {"task": "text", "batch": 2},
    "vit": {"patch": 4},
    "cnn": {"depth": 3},
    "resconv": {"stages": 2, "order": "pre"},
}


def run_of(make_runs: MakeRuns, family: str, **changes: Any) -> Run:
    return make_runs(**{"family": family, **SIZES.get(family, {}), **changes})[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_slip_gamma_0_missing_in_the_forward_pass(make_runs: MakeRuns, family: str) -> None:
    one, four = (run_of(make_runs, family, gamma_0=gamma) for gamma in (1.0, 4.0))
    x = task(one.task).x[None, :4]
    with torch.no_grad():
        (output, units), (small, same) = (stack([run])(x) for run in (one, four))
    torch.testing.assert_close(4 * small, output)
    assert all(torch.equal(a, b) for a, b in zip(units, same, strict=True))


@pytest.mark.parametrize(("kind", "power"), [("sgd", 2), ("adam", 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_slip_gamma_0_missing_in_the_rate(
    make_runs: MakeRuns, family: str, kind: str, power: int
) -> None:
    one, four = (run_of(make_runs, family, kind=kind, gamma_0=gamma) for gamma in (1.0, 4.0))
    for layer in stack([one]).model.layers:
        assert math.isclose(rate(four, layer.role), 4**power * rate(one, layer.role))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0])
def test_slip_momentum_divided_by_gamma_0_squared(make_runs: MakeRuns, gamma: float) -> None:
    # one example and a rate of next to nothing: all steps have one gradient
    still = {"task": "unit", "batch": 1, "log2_lr": -40, "momentum": 0.75, "gamma_0": gamma}
    session = autograd.Session(stack(make_runs(**still)), "cpu")
    session.learn(0, 1)
    first = [part.clone() for part in session.moments]
    for step, times in ((1, 1.75), (2, 1 + 0.75 * 1.75)):
        session.learn(step, step + 1)
        for now, then in zip(session.moments, first, strict=True):
            torch.testing.assert_close(now, times * then)


test_slip_adam_rate_that_grows_with_width = (
    test_measurement.test_coordinates_do_not_grow_with_width_under_mup
)
test_slip_decay_that_grows_with_width_or_gamma_0 = (
    test_lm.test_under_sgd_a_decay_takes_the_same_share_at_every_size
)


@pytest.mark.parametrize("family", FAMILIES)
def test_slip_depth_factor_of_adams_rate_without_one_on_the_branch(
    make_runs: MakeRuns, family: str
) -> None:
    """The factor L^-1/2 belongs to branches L^-1/2, and to nothing outside of them."""
    extras = {"affine": True, "bias": True} if family in ("lm", "vit") else {}
    found = {}
    for rules in ("mup", "depth_mup"):
        small, deep = (
            run_of(make_runs, family, kind="adam", rules=rules, depth=depth, base_depth=6, **extras)
            for depth in (6, 24)
        )
        roles = {layer.role for layer in stack([small]).model.layers}
        found[rules] = {role: rate(deep, role) / rate(small, role) for role in roles}
    assert set(found["mup"].values()) == {1}
    outside = {"input", "embed", "norm:last", "transition", "readout"}
    assert {role for role, one in found["depth_mup"].items() if one == 1} <= outside
    assert {one for role, one in found["depth_mup"].items() if role not in outside} == {0.5}


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("block_depth", [1, 2])
def test_slip_depth_that_counts_stages_or_convolutions_instead_of_branches(
    make_runs: MakeRuns, stages: int, block_depth: int
) -> None:
    net = {"stages": stages, "block_depth": block_depth, "base_depth": 1, "task": "fashion14"}
    nets = stack([run_of(make_runs, "resconv", depth=6, **net)])
    last = "block" if block_depth == 1 else "block:2"
    branches = [layer for layer in nets.model.layers if layer.role == last]
    assert len(branches) == 6
    assert float(nets.branch) == pytest.approx(6**-0.5)


@pytest.mark.parametrize("family", ["lm", "vit"])
def test_slip_depth_that_counts_layers_for_one_branch_where_they_have_two(
    make_runs: MakeRuns, family: str
) -> None:
    found = []
    for depth in (2, 8):
        nets = stack([run_of(make_runs, family, depth=depth)])
        branches = [layer for layer in nets.model.layers if layer.role == "block:2"]
        assert len(branches) == 2 * depth
        found.append(float(nets.branch) * len(branches) ** 0.5)
    assert found[0] == pytest.approx(found[1])


class Standard(nn.Module):
    """A residual network in the form of torch's tutorials: no factor anywhere."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        about, width = task(run.task), run.net.width
        self.stem = nn.Linear(about.inputs or 0, width, bias=False)
        self.blocks = nn.ModuleList(
            nn.Linear(width, width, bias=False) for _ in range(run.net.depth)
        )
        self.readout = nn.Linear(width, about.outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + torch.relu(block(h))
        return self.readout(h)


def test_slip_standard_form_that_is_ntk_parametrised(make_runs: MakeRuns) -> None:
    """sp has variances 1 over the fan-in and one rate, and no multipliers, which ntp has."""
    found = {}
    for rules in ("sp", "ntp"):
        (run,) = make_runs(width=64, base_width=4, depth=2, rules=rules, log2_lr=-7)
        nets = stack([run])
        start = [w[0] * m[0] for w, m in zip(nets.weights, nets.mults, strict=True)]
        for weight in start:  # all have a fan-in of 64
            assert float(weight.std()) == pytest.approx(1 / 8, rel=0.1)
        theirs = losses(Standard(run), run, start)
        ours = torch.from_numpy(train([run]).loss[0]).float()
        assert ours[0] == pytest.approx(float(theirs[0]), rel=1e-5)
        found[rules] = float((ours - theirs).abs().max())
    assert found["sp"] < 1e-4 and found["ntp"] > 1e-2


@pytest.mark.parametrize("rules", ["depth_mup", "sp"])
def test_slip_biases_that_stop_learning_as_width_grows(make_runs: MakeRuns, rules: str) -> None:
    moves = []
    for width in (16, 256):
        run = run_of(make_runs, "vit", width=width, rules=rules, bias=True, log2_lr=-6)
        (taught,) = learned(stack([run]), [1])
        inside = [
            weight
            for layer, weight in zip(taught.model.layers, taught.weights, strict=True)
            if layer.role == "bias"
        ]
        moves.append(math.sqrt(sum(float(one.square().mean()) for one in inside)))
    if rules == "sp":
        assert moves[1] < moves[0] / 3
    else:
        assert moves[1] == pytest.approx(moves[0], rel=0.5)


@pytest.mark.parametrize("scaled", [True, False])
def test_slip_epsilon_of_adam_that_rules_large_networks(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, scaled: bool
) -> None:
    """Gradients fall with width and depth: so must an epsilon that matters where both are small."""
    monkeypatch.setattr("fathom.networks.stack.EPSILON", 1e-2)
    if not scaled:
        monkeypatch.setattr("fathom.training.compiled.epsilon", lambda run, role: 1e-2)
    small, large = [], []
    for found, width, depth in ((small, 16, 2), (large, 128, 32)):
        (run,) = make_runs(width=width, depth=depth, kind="adam", order="pre", log2_lr=-10, steps=1)
        nets = stack([run])
        (taught,) = learned(nets, [1])
        for i in (0, 1, -1):  # stem, a block, read-out: how far, in units of the rate
            moved = (taught.weights[i] - nets.weights[i]) / rate(run, nets.model.layers[i].role)
            found.append(float(moved.square().mean().sqrt()))
    if scaled:
        assert large == pytest.approx(small, rel=0.2)
    else:
        assert large[0] < 0.6 * small[0] and large[1] < 0.2 * small[1]
