"""Infinite networks as an engine: entries, the same examples on both sides, the approach."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MakeRuns
from fathom import law, measurement, theory
from fathom.commands import checked
from fathom.networks.tasks import task
from fathom.networks.theory_inputs import theory_inputs
from fathom.spec import FAMILIES, MEASURED, TASKS, Limit, Refused, limits
from fathom.spec.words import EQUATIONS, SMOOTH
from fathom.store import ROOT
from fathom.training.train import train

STREAM = list(theory.SIZES[:5])
ENTRY: dict[str, Any] = {"rules": "depth_mup", "depth": 8, "log2_lr": -2, "steps": 4}
ENTRY |= {"task": "digits_mse", "seed": {"range": [1, 12]}}


def tables(widths: tuple[int, ...], **changes: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Networks of some widths with what was measured on them, and their limits."""
    asked = limits({**ENTRY, **changes}, "test")
    runs = [one.run(width) for one in asked for width in widths]
    found = [{**run.row(), **measurement.measured([run], "layer_sizes")[0]} for run in runs]
    solved = theory.table((one.row(), theory_inputs(one.run())) for one in asked)
    return pd.DataFrame(found), solved


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"task": "digits", "batch": 2},
        {"rules": "ode", "gain": 1.5},
        {"rules": "alpha(0.75, 0.25)", "log2_lr": 0},
        {"steps": 1},
    ],
)
def test_networks_approach_their_limit_as_one_over_the_root_of_width(
    changes: dict[str, Any],
) -> None:
    found, solved = tables((64, 256), **changes)
    off = law.departures(found, solved, of=STREAM).groupby("width")["off"].mean()
    assert off[64] / off[256] == pytest.approx(2, rel=0.35)
    assert off[256] < 0.08
    far = law.bias(found, solved, of=STREAM, given={"width": 256})
    assert abs(far.value) < 0.04


@pytest.mark.parametrize("wrong", [{"log2_lr": 0}, {"rules": "ode"}, {"gain": 1.2}])
def test_networks_are_not_those_of_another_limit(wrong: dict[str, Any]) -> None:
    found, solved = tables((256,), gain=1.0)
    _, other = tables((), **wrong)
    other = other.assign(**{name: solved[name] for name in ("log2_lr", "rules", "gain")})
    own, far = (law.bias(found, one, of=["rms_last"], given={}) for one in (solved, other))
    assert own.low < 0 < own.high
    assert not far.low < 0 < far.high


def test_networks_do_not_approach_the_limit_on_other_examples() -> None:
    found, solved = tables((512,))
    turned = solved.assign(seed=np.roll(solved["seed"], 1))
    off = [law.departures(found, one, of=["rms_input"])["off"].mean() for one in (solved, turned)]
    assert off[1] > 3 * off[0]


def test_the_output_of_an_untrained_network_is_nothing_in_the_limit() -> None:
    found, solved = tables((64, 1024), steps=1, depth=2, seed=[1, 2, 3])
    sizes = found.groupby("width")["rms_output"].mean()
    assert solved["rms_output"].to_list() == [0, 0, 0]
    assert sizes[64] / sizes[1024] == pytest.approx(4, rel=0.6)
    assert found["correlation"].to_numpy() == pytest.approx(1)


def test_layers_are_measured_before_the_last_update_on_its_batch(make_runs: MakeRuns) -> None:
    (run,) = make_runs(phi="linear", batch=16, steps=3, width=32, depth=4, log2_lr=-4)
    nets, about = train([run], steps=2).nets, task(run.task)
    x = about.x[about.batches(run.seed, 16, 3)[2]].unsqueeze(0)
    with torch.no_grad():
        outputs, units = nets(x)
        first = nets.apply(0, x)
    found = measurement.measured([run], "layer_sizes")[0]
    parts = [first, *units, outputs]
    expected = [float(part.double().square().mean().sqrt()) for part in parts]
    assert [found[f"rms_{name}"] for name in ("input", "quarter", "half")] == pytest.approx(
        expected[:3], rel=1e-4
    )
    assert found["rms_three_quarters"] == pytest.approx(expected[3], rel=1e-4)
    assert found["rms_last"] == pytest.approx(expected[4], rel=1e-4)
    assert found["rms_output"] == pytest.approx(expected[5], rel=1e-4)
    last = units[-1][0, 0].double()
    last = last - last.mean()
    tails = float((last**4).mean() / (last**2).mean() ** 2) - 3
    assert found["kurtosis"] == pytest.approx(tails, abs=1e-3)
    assert 0 <= found["p_normal"] <= 1


def test_a_run_is_measured_alike_alone_and_in_a_stack(make_runs: MakeRuns) -> None:
    runs = make_runs(seed=[1, 2], width=32, log2_lr=[-4, -3], steps=3)
    alone = [measurement.measured([run], "layer_sizes")[0] for run in runs]
    assert measurement.measured(runs, "layer_sizes") == alone


@pytest.mark.parametrize(
    ("rules", "alpha", "gamma"),
    [("depth_mup", 0.5, 0.5), ("ode", 1, 0), ("mup", 0, 0), ("alpha(0.75, 0.5)", 0.75, 0.5)],
)
def test_a_run_has_the_exponents_of_its_parametrization(
    rules: str, alpha: float, gamma: float
) -> None:
    (one,) = limits({**ENTRY, "rules": rules, "seed": 1, "task": "digits", "gain": 2.0})
    given = theory_inputs(one.run(64))
    assert (given["alpha"], given["gamma"], given["a"], given["eta"]) == (alpha, gamma, 2, 0.25)
    assert given["loss"] == "cross_entropy"
    assert given["targets"].shape == (4, 1, 10)
    assert (given["targets"].sum(axis=-1) == 1).all()


def test_an_entry_is_swept_as_a_grid_of_runs_is() -> None:
    found = limits([{**ENTRY, "depth": [4, 8], "seed": {"range": [1, 3]}}, {**ENTRY, "steps": 1}])
    assert len(found) == 6 + 12
    assert found[0] == Limit(
        rules="depth_mup", depth=4, log2_lr=-2.0, steps=4, task="digits_mse", seed=1
    )
    assert "width" not in found[0].row()
    assert found[0].run(32).row() == found[0].run(64).row() | {"width": 32}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rules": "sp"}, "'sp' is not one of mup, ode, depth_mup, completep, alpha"),
        ({"task": "text"}, "'text' is not one of digits,"),
        ({"task": "gaussian"}, "'gaussian' is not one of"),
        ({"depth": 0}, "0 is not allowed; depth is a whole number, at least 1"),
        ({"log2_lr": 0.3}, "0.3 is not a multiple of 1/4"),
        ({"depth": []}, "an empty list leaves nothing to run"),
        ({"width": 4}, "width is not one of rules, depth"),
        ({"seed": [1, 1]}, "named twice"),
        ({"phi": "relu"}, "'relu' is not one of linear, tanh, gelu"),
        ({"phi": "tanh"}, "equations go with a phi that is not linear"),
        ({"equations": "printed"}, "equations go with a phi that is not linear"),
        ({"phi": "tanh", "equations": "print"}, "'print' is not one of complete, corrected"),
        (
            {"phi": "tanh", "equations": "complete", "rules": "ode"},
            "rules ode and batch 1: with a phi that is not linear the limit is known for depth_mup",
        ),
        ({"depth": 4096, "steps": 100}, "depth 4096, steps 100 and batch 1 need 5000 GiB and 8"),
    ],
)
def test_entries_are_refused_in_a_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused) as refused:
        limits({**ENTRY, **changes}, "params.yaml limit.test")
    assert str(refused.value).startswith("params.yaml limit.test")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_entry_without_a_depth_or_without_grids_is_refused() -> None:
    with pytest.raises(Refused, match="depth is missing"):
        limits({name: value for name, value in ENTRY.items() if name != "depth"})
    with pytest.raises(Refused, match="an empty list has no runs"):
        limits([])


def test_the_door_refuses_an_entry_that_is_not_there() -> None:
    with pytest.raises(Refused, match=r"params.yaml limit: .* did you mean tp6_layer_sizes"):
        checked("limit", "tp6_layer_size")


def sampled(exponent: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Networks whose size scatters about its limit as a power of width."""
    rng, rows = np.random.default_rng(3), []
    for seed in range(20):
        for width in (128, 256, 512, 1024):
            off = rng.standard_normal(2) * width**exponent
            rows.append({"seed": seed, "steps": 1, "width": width})
            rows[-1] |= {"rms_a": 2 * (1 + off[0]), "rms_b": 3 * (1 + off[1])}
    known = pd.DataFrame({"seed": range(20), "steps": 1, "rms_a": 2.0, "rms_b": 3.0})
    return pd.DataFrame(rows), known


@pytest.mark.parametrize("along", ["width", "depth"])
@pytest.mark.parametrize("exponent", [-0.5, -1.0])
def test_the_approach_to_a_limit_has_the_exponent_of_the_scatter(
    exponent: float, along: str
) -> None:
    networks, known = sampled(exponent)
    sized = networks.rename(columns={"width": along})
    found = law.MEASURES["approach"](sized, known, of=["rms_a", "rms_b"], given={}, along=along)
    assert found.low < exponent < found.high
    assert found.high - found.low < 0.8
    assert found.seeds == 20


def test_departures_are_shares_unless_they_are_not_and_keep_their_sign() -> None:
    networks = pd.DataFrame({"seed": [1, 2], "width": 4, "rms_a": [3.0, 1.0]})
    known = pd.DataFrame({"seed": [1, 2], "rms_a": [2.0, 2.0]})
    found = law.departures(networks, known, of=["rms_a"])
    assert found["rms_a"].to_list() == [0.5, -0.5]
    assert found["off"].to_list() == [0.5, 0.5]
    assert law.departures(networks, known, of=["rms_a"], relative=False)["off"].to_list() == [1, 1]
    assert law.bias(networks, known, of=["rms_a"], given={"seed": [1, 2]}).value == 0
    with pytest.raises(LookupError, match="1 networks have no row"):
        law.departures(networks, known[:1], of=["rms_a"])


@pytest.mark.parametrize("power", [-1, -2])
def test_what_is_off_by_a_power_of_depth_changes_by_that_power(power: int) -> None:
    depths = [2**k for k in range(4, 10)]
    parts = [
        pd.DataFrame({"seed": seed, "steps": steps, "depth": depths}).assign(
            rms_a=lambda rows, b=seed + steps: 1 + b * 0.01 * rows["depth"].astype(float) ** power
        )
        for seed in (1, 2, 3)
        for steps in (5, 10)
    ]
    found = law.MEASURES["convergence"](pd.concat(parts), of=["rms_a"], given={})
    assert found.value == pytest.approx(power, abs=0.02)


def test_the_share_below_a_level_is_counted_seed_by_seed() -> None:
    table = pd.DataFrame({"seed": [1, 1, 2, 2], "p_normal": [0.01, 0.5, 0.04, 0.049]})
    found = law.MEASURES["share_below"](table, of="p_normal", below=0.05, given={})
    assert found.value == pytest.approx(0.75)


def test_networks_are_drawn_about_the_mean_of_all_limits() -> None:
    networks, known = sampled(-0.5)
    only = law.beside(networks[networks["seed"] < 2], known.assign(rms_a=known["seed"] + 1.0),
                      ["steps", "width"], of=["rms_a"])  # fmt: skip
    assert (only["limit"] == 10.5).all()
    assert (only["low"] < only["value"]).all() and (only["value"] < only["high"]).all()
    first = networks[(networks["seed"] < 2) & (networks["width"] == 128)]["rms_a"].mean()
    assert only["value"].iloc[0] == pytest.approx(10.5 + first - 1.5)


def test_both_sides_name_what_they_share_alike_and_the_dictionary_explains_it() -> None:
    assert MEASURED["layer_sizes"][:7] == theory.SIZES
    said = (ROOT / "artifacts" / "README.md").read_text()
    for measure in ("layer_sizes", "coordinates", "linearisation"):
        assert all(f"`{name}`" in said for name in MEASURED[measure])
    assert all(f"`{name}`" in said for name in (*FAMILIES, *TASKS, *EQUATIONS[:3]))


def test_words_of_the_entries_are_those_of_the_theory() -> None:
    assert EQUATIONS == theory.EQUATIONS
    assert set(SMOOTH) == set(theory.SMOOTH)


def test_of_several_equations_each_is_solved_once_and_set_against_the_same_networks() -> None:
    same = {"phi": "tanh", "gain": 1.5, "task": "unit", "steps": 4, "seed": [1, 2, 3]}
    asked = limits({**ENTRY, **same, "equations": ["complete", "printed"]}, "test")
    calls: list[int] = []

    def given() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for one in asked:
            calls.append(one.seed)
            yield one.row(), theory_inputs(one.run(), one.equations)

    solved = theory.table(given())
    assert len(calls) == len(solved) == 6
    sizes = solved.groupby("equations")["rms_last"].nunique()
    assert (sizes == 1).all(), "the same examples"
    runs = [one.run(64) for one in asked[:3]]
    assert {run.net.center for run in runs} == {True}
    found = pd.DataFrame(
        [{**run.row(), **measurement.measured([run], "layer_sizes")[0]} for run in runs]
    )
    gaps = [
        law.bias(found, solved, of=["rms_last"], given={}, limits={"equations": one}).value
        for one in ("complete", "printed")
    ]
    ends = solved.groupby("equations")["rms_last"].first()
    assert (1 + gaps[0]) / (1 + gaps[1]) == pytest.approx(ends["printed"] / ends["complete"])
    with pytest.raises(Exception, match="not a many-to-one"):
        law.bias(found, solved, of=["rms_last"], given={})
