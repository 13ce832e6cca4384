"""Blocks replaced by their linearisation, and how far trained blocks are from theirs."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.measurement import measured
from fathom.measurement.linearity import _expanded, _precise, linearisation
from fathom.networks.stack import rate, stack, trained
from fathom.networks.tasks import task
from fathom.phi import Array
from fathom.spec import Refused
from fathom.training.train import train

ADAM: dict[str, Any] = {"kind": "adam", "log2_lr": -7, "steps": 12, "block_depth": 2}
SHARES = ("weight_share", "block_share", "remainder", "remainder_median")


def losses(make_runs: MakeRuns, family: str, **changes: Any) -> Array:
    return train(make_runs(**{**ADAM, "family": family, **changes})).loss


def shares(make_runs: MakeRuns, **changes: Any) -> dict[str, float]:
    """What the measure finds, averaged over two seeds."""
    found = linearisation(make_runs(**{**ADAM, "steps": 1, "seed": [1, 2], **changes}))
    return {name: float(np.mean([row[name] for row in found])) for name in SHARES}


@pytest.mark.parametrize("phi", ["linear", "abs", "tanh"])
@pytest.mark.parametrize("block_depth", [1, 2])
@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize(("order", "center"), [("post", True), ("pre", False)])
def test_before_training_both_are_one_function(
    make_runs: MakeRuns, phi: str, block_depth: int, norm: str, order: str, center: bool
) -> None:
    changes = {"phi": phi, "norm": norm, "order": order, "center": center}
    plain, other = (
        losses(make_runs, family, **changes, block_depth=block_depth, steps=1)
        for family in ("resmlp", "linearised")
    )
    np.testing.assert_allclose(other, plain, rtol=1e-5)


@pytest.mark.parametrize("rules", ["depth_mup", "first_layer", "completep"])
def test_what_is_linear_already_is_trained_alike(make_runs: MakeRuns, rules: str) -> None:
    changes = {"phi": "linear", "block_depth": 1, "rules": rules, "depth": 4}
    plain, other = (losses(make_runs, one, **changes) for one in ("resmlp", "linearised"))
    np.testing.assert_allclose(other, plain, rtol=2e-3)
    assert not np.allclose(plain[:, -1], plain[:, 0], rtol=0.1)


def test_two_linear_matrices_are_not_linear_in_their_changes(make_runs: MakeRuns) -> None:
    plain, other = (
        losses(make_runs, one, phi="linear", log2_lr=-6) for one in ("resmlp", "linearised")
    )
    np.testing.assert_allclose(other[:, :2], plain[:, :2], rtol=1e-2)
    assert not np.allclose(other, plain, rtol=2e-3)


def test_what_blocks_learn_is_trained_at_the_blocks_rates_and_begins_at_zero(
    make_runs: MakeRuns,
) -> None:
    changes = {**ADAM, "width": 32, "depth": 8, "rules": "first_layer"}
    for ends in (True, False):
        run = make_runs(**changes, family="linearised", train_ends=ends)[0]
        nets = stack([run])
        learning = [nets.model.layers[i].role for i in trained(run.net, nets.model)]
        middle = ["change:1", "change:2"] * 8
        assert learning == (["input", *middle, "readout"] if ends else middle)
    for number in (":1", ":2"):
        assert rate(run, "change" + number) == rate(run, "block" + number)
    assert rate(run, "change:1") != rate(run, "change:2")
    assert all(not weight.any() for weight in nets.weights[17:33])
    plain = stack(make_runs(**changes))
    kept = [*nets.weights[:17], nets.weights[-1]]
    assert all(torch.equal(a, b) for a, b in zip(kept, plain.weights, strict=True))


@pytest.mark.parametrize("measure", ["one_step", "one_sample_step"])
def test_one_step_of_linearised_blocks_is_a_real_step_at_a_tiny_rate(
    make_runs: MakeRuns, measure: str
) -> None:
    changes = {"family": "linearised", "phi": "tanh", "block_depth": 2, "log2_lr": -12, "batch": 1}
    (run,) = make_runs(**changes)
    about = task(run.task)
    x = about.x[about.batches(run.seed, 1, 1)[0]].unsqueeze(0)
    before, after = stack([run]), train([run], steps=1).nets
    with torch.no_grad():
        pairs = zip(before(x)[1], after(x)[1], strict=True)
        moves = [float((b - a).double().square().mean()) for a, b in pairs]
    assert measured([run], measure)[0]["update_mean"] == pytest.approx(np.mean(moves), rel=1e-2)


@pytest.mark.parametrize(("depth", "block_depth"), [(3, 1), (4, 1), (4, 2)])
def test_what_is_linear_already_has_the_same_sizes(
    make_runs: MakeRuns, depth: int, block_depth: int
) -> None:
    changes = {**ADAM, "phi": "linear", "depth": depth, "block_depth": block_depth, "steps": 2}
    plain, other = (
        measured(make_runs(**changes, family=one), "sizes")[0] for one in ("resmlp", "linearised")
    )
    assert other == pytest.approx(plain, rel=2e-3 if block_depth == 1 else 0.05)
    assert other["hidden_move"] > 0.01


@pytest.mark.parametrize("phi", ["linear", "tanh"])
def test_the_rest_is_of_second_order_in_the_rate(make_runs: MakeRuns, phi: str) -> None:
    small, large = (shares(make_runs, phi=phi, width=64, log2_lr=lr) for lr in (-12, -10))
    for name in SHARES:
        assert large[name] / small[name] == pytest.approx(4, rel=0.1), name


OTHERS: list[dict[str, Any]] = [
    {"family": "lm", "task": "text", "phi": "gelu", "batch": 2, "depth": 3},
    {"family": "vit", "patch": 4, "phi": "tanh", "bias": True, "affine": True, "parallel": True},
    {"family": "vit", "patch": 4, "phi": "gelu", "placement": "post", "layer_scale": 0.5},
    {"family": "resconv", "stages": 2, "phi": "tanh", "depth": 2, "norm": "layer", "affine": True},
    {"family": "resconv", "stages": 2, "phi": "gelu", "depth": 4, "order": "pre", "bias": True},
]


@pytest.mark.parametrize("net", OTHERS, ids=str)
def test_the_rest_is_of_second_order_in_every_family_of_blocks(
    make_runs: MakeRuns, net: dict[str, Any]
) -> None:
    changes = {"width": 32, "block_depth": 2 if net["family"] == "resconv" else 1, **net}
    small, large = (shares(make_runs, **changes, log2_lr=lr) for lr in (-16, -14))
    for name in SHARES:
        assert large[name] / small[name] == pytest.approx(4, rel=0.15), name


@pytest.mark.parametrize("way", [{"block_depth": 2}, {"norm": "layer"}, {"order": "pre"}])
def test_derivatives_forward_are_what_the_linearised_block_is_made_of(
    make_runs: MakeRuns, way: dict[str, Any]
) -> None:
    runs = make_runs(**{**ADAM, "phi": "tanh", "block_depth": 1, **way})
    before, after = _precise(stack(runs)), _precise(train(runs).nets)
    weights = [b - a for a, b in zip(before.weights, after.weights, strict=True)]
    change, k, block = before._replace(weights=weights), 1, before.model.block
    stream = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(1)).double()
    assert block
    plain = _expanded(block, before, change, k, stream)
    vit = runs[0].model_copy(update={"net": runs[0].net.model_copy(update={"family": "vit"})})
    other = _expanded(block, before._replace(runs=[vit]), change, k, stream)
    torch.testing.assert_close(plain, other, rtol=1e-12, atol=1e-12)


def test_a_share_is_that_of_what_the_matrix_is_given(make_runs: MakeRuns) -> None:
    for way in ({"norm": "layer"}, {"order": "pre"}):  # one linear matrix is all of its block
        found = shares(make_runs, phi="linear", block_depth=1, **way)
        assert found["weight_share"] == pytest.approx(found["block_share"], rel=1e-9)


def test_a_kink_leaves_a_rest_of_order_three_halves(make_runs: MakeRuns) -> None:
    changes = {"phi": "relu", "width": 256, "base_width": 256, "seed": list(range(8))}
    small, large = (shares(make_runs, **changes, log2_lr=lr) for lr in (-14, -10))
    assert large["remainder"] / small["remainder"] == pytest.approx(4, rel=0.35)


def test_one_linear_matrix_has_no_rest(make_runs: MakeRuns) -> None:
    assert shares(make_runs, phi="linear", block_depth=1)["remainder"] < 1e-12
    assert shares(make_runs, phi="linear", block_depth=2)["remainder"] > 1e-3


@pytest.mark.parametrize(("rules", "exponent"), [("depth_mup", -1 / 2), ("completep", 0)])
@pytest.mark.parametrize("name", ["weight_share", "remainder"])
def test_shares_fall_with_depth_as_the_paper_counts(
    make_runs: MakeRuns, rules: str, exponent: float, name: str
) -> None:
    changes = {"phi": "tanh", "center": True, "width": 32, "log2_lr": -10, "rules": rules}
    few, many = (
        shares(make_runs, **changes, depth=depth, base_depth=8, train_ends=False)
        for depth in (16, 256)
    )
    assert np.log2(many[name] / few[name]) / 4 == pytest.approx(exponent, abs=0.15)


def test_a_chain_has_no_blocks(make_runs: MakeRuns) -> None:
    with pytest.raises(Refused, match="family mlp: linearisation is measured on resmlp"):
        measured(make_runs(family="mlp", depth=3), "linearisation")
