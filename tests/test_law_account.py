"""One account of three papers: what theory predicts for an arm, one step measures; rules, their
costs, and what choosing sweeps by their exponent finds."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MakeRuns
from fathom import law
from fathom.measurement.one_step import one_step
from fathom.networks import parametrization
from fathom.networks.parametrization import ONE, Power, depth_exponent, own_exponent
from fathom.networks.stack import losses, rate, stack
from fathom.networks.tasks import drawn
from fathom.spec import DRAWN

SEEN = ("exponent", "inside")
Hazards = dict[tuple[float, str, str], float]
ARMS = [  # rules, matrices in a branch, the exponents of section 7.3: SGD, Adam
    ("am_mup", 1, -1, -1),
    ("depth_mup", 1, 0, -1 / 2),
    ("ode", 1, 1, 0),
    ("am_mup", 2, 0, -1 / 2),
    ("init(0, 0.5)", 2, -1, -1),
    ("init(0.25, 0.25)", 2, -1 / 2, -3 / 4),
    ("depth_mup", 2, 0, -1 / 2),
    ("ode", 2, 1, 0),
]


@pytest.mark.parametrize(("rules", "matrices", "sgd", "adam"), ARMS)
def test_the_formula_gives_the_exponents_of_the_specification(
    rules: str, matrices: int, sgd: float, adam: float
) -> None:
    assert depth_exponent(rules, "sgd", matrices) == pytest.approx(sgd)
    assert depth_exponent(rules, "adam", matrices) == pytest.approx(adam)


def test_a_stream_that_grows_beyond_bounds_has_no_exponent() -> None:
    assert math.isnan(depth_exponent("mup", "sgd"))
    assert math.isnan(depth_exponent("init(0.2, 0.2)", "adam", 2))


def test_rules_that_are_right_leave_the_base_rate_alone() -> None:
    for rules, kind in (("depth_mup", "sgd"), ("depth_mup", "adam"), ("ode", "adam")):
        assert depth_exponent(rules, kind) == own_exponent(rules, kind)
    assert depth_exponent("am_mup", "sgd") != own_exponent("am_mup", "sgd")


def test_damping_both_matrices_alike_is_the_variance_form() -> None:
    both, named = (parametrization.parametrization(one) for one in ("init(0.5, 0.5)", "am_mup"))
    for role in ("input", "block", "block:1", "block:2", "readout", "bias"):
        assert both.rule(role) == named.rule(role)
    assert both.branch == ONE
    assert parametrization.init(0.25, 1).rule("block:2").init == Power(-1 / 2, -1)


@pytest.mark.parametrize(("rules", "matrices", "sgd", "adam"), ARMS[:2] + ARMS[4:6])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_one_step_measures_the_exponent_that_the_formula_gives(
    make_runs: MakeRuns, rules: str, matrices: int, sgd: float, adam: float, kind: str
) -> None:
    changes: dict[str, Any] = {"kind": kind, "log2_lr": 0, "task": "gaussian", "batch": 4}
    changes |= {"order": "pre", "center": False, "init_gain": 2.0, "train_ends": False}
    changes |= {"rules": rules, "block_depth": matrices, "width": 64, "base_depth": 1}
    sizes = {}
    for depth in (8, 32):
        runs = make_runs(**changes, depth=depth, seed=list(range(8)))
        found = [row["update_mean"] for row in one_step(runs, "one_sample_step")]
        sizes[depth] = float(np.mean(found))
    measured = -math.log2(sizes[32] / sizes[8]) / 4
    wanted = (sgd if kind == "sgd" else adam) - own_exponent(rules, kind)
    assert measured == pytest.approx(wanted, abs=0.2)


def test_adams_first_step_goes_along_the_signs_of_the_gradient(make_runs: MakeRuns) -> None:
    (run,) = make_runs(family="mlp", kind="adam", log2_lr=-12, task="gaussian", batch=1, depth=3)
    before, after = stack([run]), stack([run])
    x, y = (one[None] for one in drawn("gaussian", run.seed, 1, run.net.width))
    weights = [weight.requires_grad_() for weight in before.weights]
    _, units = before(x)
    grads = torch.autograd.grad(losses(before(x)[0], y).sum(), weights)
    for i, grad in enumerate(grads):
        after.weights[i].sub_(rate(run, before.model.layers[i].role) * grad.sign())
    with torch.no_grad():
        _, moved = after(x)
    pairs = zip(units, moved, strict=True)
    wanted = float(np.mean([float((b - a.detach()).square().mean()) for a, b in pairs]))
    (found,) = one_step([run], "one_sample_step")
    assert found["update_mean"] == pytest.approx(wanted, rel=0.05)
    (batch,) = one_step([run], "one_step")
    assert batch["update_mean"] == pytest.approx(found["update_mean"], rel=1e-4)


def test_a_rectified_input_has_no_negative_numbers_and_half_the_mean_square() -> None:
    x, y = drawn("gaussian_rectified", 1, 64, 512)
    other, targets = drawn("gaussian", 1, 64, 512)
    assert torch.equal(x, other.clamp(min=0)) and torch.equal(y, targets)
    assert float(x.square().mean()) == pytest.approx(0.5, abs=0.02)


def test_adams_first_step_falls_faster_with_depth_where_the_input_is_rectified(
    make_runs: MakeRuns,
) -> None:
    # an input of both signs moves the first layer by sqrt(2) more, which counts where few follow
    rates: dict[str, dict[int, float]] = {}
    for name in DRAWN:
        for depth in (3, 16):
            given: dict[str, Any] = {"family": "mlp", "kind": "adam", "log2_lr": 0, "rules": "mup"}
            given |= {"width": 256, "init_gain": 2.0, "task": name, "batch": 4, "depth": depth}
            runs = make_runs(**given, base_width=1, base_depth=1, seed=list(range(6)))
            found = [row["update_mean"] for row in one_step(runs, "one_sample_step")]
            rates.setdefault(name, {})[depth] = float(np.mean(found)) ** -0.5
    slope = {name: math.log(one[16] / one[3]) / math.log(16 / 3) for name, one in rates.items()}
    assert slope["gaussian_rectified"] < slope["gaussian"] - 0.02
    assert slope["gaussian_rectified"] == pytest.approx(-1.31, abs=0.1)


def runs_of(optimum: dict[int, float], seeds: int = 3, noise: float = 0.0) -> pd.DataFrame:
    """A sweep whose log loss is a parabola around a given optimum at each depth."""
    rng, rows = np.random.default_rng(0), []
    for depth, best in optimum.items():
        for seed in range(seeds):
            at = best + noise * rng.normal()
            for log2_lr in np.arange(-12, 3, 0.5):
                loss = math.exp(0.1 * (log2_lr - at) ** 2)
                size = {"depth": depth, "block_depth": 1, "gain": 1.0}
                rows.append({**size, "seed": seed, "log2_lr": log2_lr, "loss_mean": loss})
    return pd.DataFrame(rows)


def test_the_sum_over_all_paths_is_that_of_brute_force() -> None:
    def paths(depth: int) -> int:
        return sum(math.comb(depth, k) * k**3 for k in range(depth + 1))

    for anchor, depth in ((1, 2), (3, 6), (4, 24)):
        wanted = -math.log2(paths(depth) / paths(anchor)) / 2
        assert law.PREDICTIONS["all_paths"](depth, anchor) == pytest.approx(wanted)


def test_an_own_fit_carries_the_exponent_of_the_shallow_depths() -> None:
    runs = runs_of({depth: -1.2 * math.log2(depth) for depth in (2, 4, 8, 32)})
    found = law.transfer(runs, ["depth"], {"depth": 8}, ["fitted", "three_halves"])
    deep = found[found["depth"] == 32].groupby("prediction")[["missed", "regret"]].mean()
    assert deep.loc["fitted"].to_numpy() == pytest.approx([0, 0], abs=1e-6)
    assert deep.loc["three_halves", "missed"] == pytest.approx(-0.6)
    assert deep.loc["three_halves", "regret"] == pytest.approx(0.036, abs=1e-6)


def test_an_own_fit_needs_three_depths() -> None:
    runs = runs_of({depth: -math.log2(depth) for depth in (4, 8, 32)})
    found = law.transfer(runs, ["depth"], {"depth": 8}, ["fitted"])
    assert found["log2_lr"].isna().all()


def test_a_rate_carried_by_a_rule_starts_at_the_shallowest_optimum() -> None:
    best = law.summary(law.optima(runs_of({4: -2.0, 16: -5.0}), ["depth"]), ["depth"])
    found = law.carried(best, ["three_halves", "constant"])
    assert found["three_halves"]["value"].tolist() == pytest.approx([-2, -5])
    assert found["constant"]["value"].tolist() == pytest.approx([-2, -2])


def test_the_gap_of_two_exponents_is_paired_by_seed() -> None:
    kinds = {"a": -1.0, "b": -1.5}
    tables = []
    for kind, power in kinds.items():
        runs = runs_of({d: power * math.log2(d) for d in (2, 4, 8)})
        tables.append(law.optima(runs, ["depth"]).assign(kind=kind))
    found = law.slope_gap(
        pd.concat(tables), along="depth", first={"kind": "b"}, second={"kind": "a"}, given={}
    )
    assert found.value == pytest.approx(-0.5)
    assert found.seeds == 3


def test_octaves_missed_are_compared_without_their_sign() -> None:
    rows = [
        {"prediction": name, "seed": seed, "missed": missed, "regret": 0.0}
        for name, missed in (("near", 0.5), ("far", -3.0))
        for seed in (1, 2)
    ]
    found = law.MEASURES["regret_gap"](
        pd.DataFrame(rows), first="near", second="far", of="missed", given={}
    )
    assert found.value == pytest.approx(-2.5)


@pytest.fixture(scope="module")
def hazards() -> Hazards:
    runs = runs_of({d: -1.4 * math.log2(d) for d in (3, 6, 12, 24)}, seeds=8, noise=0.6)
    rows = law.hazards(runs, ["depth"]).to_dict("records")
    return {(row["truth"], row["way"], name): row[name] for row in rows for name in SEEN}


def test_one_sweep_finds_the_truth_on_average(hazards: Hazards) -> None:
    for truth in (-1.0, -1.2, -1.5):
        assert hazards[truth, "first", "exponent"] == pytest.approx(truth, abs=0.01)


def test_choosing_sweeps_by_their_exponent_moves_it_to_what_is_looked_for(
    hazards: Hazards,
) -> None:
    for way in ("until_inside", "nearest"):
        assert hazards[-1.2, way, "inside"] > 2 * hazards[-1.2, "first", "inside"]
        assert hazards[-1.2, way, "exponent"] < -1.22


def test_an_offset_of_depth_and_a_short_grid_move_an_exponent(hazards: Hazards) -> None:
    assert hazards[-1.5, "one_more", "exponent"] < -1.6
    assert hazards[-1.5, "one_less", "exponent"] > -1.4
    for way in ("floor", "ceiling"):
        assert hazards[-1.5, way, "exponent"] > -1.45


def test_optima_given_to_depths_at_random_have_no_exponent(hazards: Hazards) -> None:
    for truth in (-1.0, -1.2, -1.5):
        assert hazards[truth, "shuffled", "exponent"] == pytest.approx(0, abs=0.05)
        assert hazards[truth, "shuffled", "inside"] < 0.1
    assert hazards[-1.5, "first", "inside"] > 3 * hazards[-1.5, "shuffled", "inside"]


def transferred(costs: dict[str, list[float]]) -> pd.DataFrame:
    """Rows of every kind of network in which rules cost so much, seed by seed."""
    rows = [
        {key: one[0] if isinstance(one, list) else one for key, one in kind.rows.items()}
        | {"prediction": rule, "seed": kind.rows.get("seed", range(3))[number], "regret": cost}
        for kind in law.NETWORKS.values()
        for rule, seeds in costs.items()
        for number, cost in enumerate(seeds)
    ]
    return pd.DataFrame(rows).drop_duplicates()


def test_advice_names_the_cheapest_rule_the_dearest_and_those_between() -> None:
    costs = {
        "inverse": [0.01, 0.02, 0.03],
        "finite_depth": [0.02, 0.01, 0.04],
        "three_halves": [0.02, 0.03, 0.045],
        "constant": [0.04, math.inf, 0.04],
        "all_paths": [math.nan, 0.01, 0.01],
    }
    chains = ["constant", "inverse", "three_halves", "finite_depth"]
    for one in law.advice(lambda _: transferred(costs)).to_dict("records"):
        assert (one["rule"], one["regret"]) == ("inverse", pytest.approx(0.02))
        assert one["alike"] == ("finite_depth",)  # three_halves costs more by 0.0117 +- 0.007
        assert (one["worst"], one["worst_regret"]) == ("constant", math.inf)
        assert one["untrained"] == (
            () if "convolutions, chain" in one["network"] else ("all_paths",)
        )
    costs["constant"] = [0.01, 0.05, 0.06]  # dearest on average, and not told apart
    for one in law.advice(lambda _: transferred(costs)).to_dict("records"):
        assert (one["alike"][-1], one["worst"]) == ("constant", "")
    del costs["constant"], costs["three_halves"]
    found = law.advice(lambda _: transferred(costs))
    assert set(found["worst"]) == {""}
    assert found["worst_regret"].isna().all()
    nothing = law.advice(lambda _: transferred({rule: [math.nan] * 2 for rule in chains}))
    assert nothing["regret"].isna().all()


def test_the_cost_of_a_rule_is_that_of_its_rows() -> None:
    def read(name: str) -> pd.DataFrame:
        del name
        return transferred({"constant": [0.5, 0.5], "inverse": [0.01, 0.01]})

    one = law.regret(read, "chain, SGD", "constant")
    assert one is not None
    assert one.regret.value == pytest.approx(0.5)
    assert one.depths == (6,)
    assert one.exponent is None
    assert law.regret(read, "chain, SGD", "own") is None
    with pytest.raises(LookupError, match="'tree' is not one of ViT, norm after, Adam"):
        law.regret(read, "tree", "constant")


def test_a_mean_of_squares_is_decided_by_rare_large_steps() -> None:
    rng = np.random.default_rng(5)
    depths, spread = np.array([4.0, 8.0, 16.0, 32.0]), np.array([0.05, 0.1, 0.2, 0.4])
    rows = [
        {"depth": depth, "seed": seed, "optimum": -1.5 * np.log2(depth) + float(noise), "flag": ""}
        for seed in range(400)
        for depth, noise in zip(depths, spread * rng.normal(size=4), strict=True)
    ]
    table = pd.DataFrame(rows)
    logs = law.slope(table, along="depth", given={})
    squares = law.MEASURES["mean_square_slope"](table, along="depth", given={})
    # the mean of the square of a log-normal of spread s (octaves) is 2^(2 ln2 s^2) times its median
    expected = -1.5 + float(np.polyfit(np.log2(depths), -math.log(2) * spread**2, 1)[0])
    assert logs.low < -1.5 < logs.high
    assert squares.low < expected < squares.high
    assert squares.high < logs.value
    exact = table.assign(optimum=-1.5 * np.log2(table["depth"]))
    assert law.MEASURES["mean_square_slope"](exact, along="depth", given={}).value == pytest.approx(
        -1.5
    )
