"""The coordinate check on every family, and where a stream begins."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.measurement import coordinates, measured
from fathom.measurement.coordinates import _middle
from fathom.measurement.observe import examples, observe
from fathom.networks.stack import stack
from fathom.spec import MEASURED, Refused

OTHERS: list[dict[str, Any]] = [
    {"family": "lm", "task": "text", "phi": "gelu", "depth": 3, "batch": 2},
    {"family": "lm", "task": "text", "bias": True, "affine": True, "batch": 2, "depth": 4},
    {"family": "vit", "patch": 4, "parallel": True, "bias": True, "layer_scale": 0.5},
    {"family": "vit", "patch": 4, "placement": "post", "affine": True, "depth": 3},
    {"family": "cnn", "norm": "batch", "affine": True, "bias": True, "depth": 4},
    {"family": "cnn", "depth": 2},
    {"family": "resconv", "stages": 2, "depth": 4, "order": "pre", "norm": "layer"},
    {"family": "resconv", "stages": 1, "block_depth": 2, "bias": True},
]


@pytest.mark.parametrize("net", OTHERS, ids=str)
def test_coordinates_of_every_family_are_those_of_its_units_and_grow_with_the_rate(
    make_runs: MakeRuns, net: dict[str, Any]
) -> None:
    still, slow, fast = (make_runs(**net, kind="adam", log2_lr=lr) for lr in (-120, -13, -12))
    (row,), (size,) = measured(fast, "coordinates"), measured(fast, "sizes")
    assert set(row) == set(MEASURED["coordinates"]) and all(map(np.isfinite, row.values()))
    assert (row["stream_move"], row["output_move"]) == (size["unit_move"], size["output_move"])
    (small,), (none,) = measured(slow, "coordinates"), measured(still, "coordinates")
    for name in ("stream_move", "output_move", "hidden_move", "weight_move"):
        assert none[name] == pytest.approx(0, abs=1e-6)
        assert row[name] / small[name] == pytest.approx(2, rel=0.2), name
    assert row["hidden_init"] == none["hidden_init"] > 0.1
    assert row["weight_move"] < 2 * row["hidden_move"]


@pytest.mark.parametrize(
    "net", [*OTHERS, {"family": "mlp", "depth": 5}, {"depth": 5, "block_depth": 2}], ids=str
)
def test_the_middle_is_a_pre_activation_with_another_like_it_behind_it(
    make_runs: MakeRuns, net: dict[str, Any]
) -> None:
    nets = stack(make_runs(**net))
    unit, first, second = _middle(nets)
    assert 1 <= unit < nets.runs[0].net.depth and nets.model.hidden[unit - 1] == first
    layers = nets.model.layers
    assert layers[first][1:] == layers[second][1:] or not nets.model.blocks
    assert layers[second].role in ("block", "block:1")
    if net.get("family") in ("lm", "vit"):
        assert layers[first].fan_out == 4 * layers[first].fan_in


def test_a_chain_has_its_pre_activations_for_streams(make_runs: MakeRuns) -> None:
    for family in ("mlp", "cnn"):
        (row,) = coordinates(make_runs(family=family, depth=4))
        assert row["decorrelation"] == 1


@pytest.mark.parametrize(("phi", "ratio"), [("linear", 1.0), ("relu", 0.5), ("abs", 0.0)])
def test_neighbouring_gradients_of_convolutions_are_as_alike_as_those_of_matrices(
    make_runs: MakeRuns, phi: str, ratio: float
) -> None:
    size = {"family": "resconv", "stages": 1, "width": 64, "depth": 16, "base_depth": 4}
    size |= {"padding": "circular", "gain": 0.5, "steps": 1, "seed": [1, 2]}
    found = np.mean([row["decorrelation"] for row in coordinates(make_runs(**size, phi=phi))])
    assert found == pytest.approx(ratio, abs=0.15)  # places of one image are alike


def test_the_output_of_a_language_model_grows_with_width_under_sp_alone(
    make_runs: MakeRuns,
) -> None:
    size = {"family": "lm", "task": "text", "phi": "gelu", "batch": 2, "kind": "adam", "steps": 3}
    grown = {}
    for rules in ("mup", "sp"):
        few, many = (
            coordinates(make_runs(**size, rules=rules, width=width, log2_lr=-10))[0]["output_move"]
            for width in (16, 128)
        )
        grown[rules] = many / few
    assert grown["mup"] < 1.2 and grown["sp"] > 3


def test_coordinates_refuse_stages_of_one_branch(make_runs: MakeRuns) -> None:
    with pytest.raises(Refused, match=r"depth 2 in 2 stages: .* more in a stage; .* 4 at least"):
        measured(make_runs(family="resconv", stages=2, depth=2), "coordinates")


@pytest.mark.parametrize(
    "net",
    [
        {"family": "lm", "task": "text"},
        {"family": "vit", "patch": 4, "bias": True, "affine": True},
        {"family": "vit", "patch": 4},
        {"family": "resconv", "stages": 2, "depth": 4, "bias": True},
        {"family": "cnn", "norm": "batch", "affine": True, "bias": True},
        {"family": "mlp"},
        {"block_depth": 2},
        {"family": "linearised"},
    ],
)
def test_the_stream_begins_as_it_is_where_branches_add_nothing(
    make_runs: MakeRuns, net: dict[str, Any]
) -> None:
    runs = make_runs(**net)
    nets, (x, _) = stack(runs), examples(runs)
    with torch.no_grad():
        here, without = (observe(nets._replace(branch=k * nets.branch), x).stream for k in (1, 0))
    assert torch.equal(without[0], without[1]) and torch.equal(here[0], without[0])
