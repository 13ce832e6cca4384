"""Measures find the exponents, levels and ridges that data were made with, and no others."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from fathom import law
from fathom.law.phases import PHASES

DEPTHS = (4, 8, 16, 32)
SEEDS = (1, 2, 3, 4, 5)
LIMITS = {"stream_init": 0.125, "stream_move": 0.125, "hidden_move": 0.125}


def measured(exponent: float, scale: float = 1.0, noise: float = 0.05) -> pd.DataFrame:
    """A column `size` that grows as a power of depth, with noise between seeds."""
    draws = np.random.default_rng(0)
    rows = [
        {"depth": d, "seed": s, "size": scale * d**exponent * 2 ** draws.normal(0, noise)}
        for d, s in itertools.product(DEPTHS, SEEDS)
    ]
    return pd.DataFrame(rows)


def best(losses: dict[int, float], flag: str = "", **more: str | int) -> pd.DataFrame:
    """A table of optima, a best log loss per depth, a little worse with every seed."""
    rows = [
        {"depth": d, "layers": d, "seed": s, "log_loss": loss + s / 100}
        for d, loss in losses.items()
        for s in SEEDS
    ]
    return pd.DataFrame(rows).assign(flag=flag, **more)


def ridge(slope: float, layers: int = 4, gains: tuple[int, ...] = (-2, -1, 0, 1)) -> pd.DataFrame:
    rows = [
        {"layers": layers, "seed": s, "log2_gain": g, "optimum": g / slope - 8 + s / 10}
        for g, s in itertools.product(gains, SEEDS)
    ]
    return pd.DataFrame(rows).assign(flag="")


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.25, 2.0])
def test_growth_finds_the_exponent_whatever_the_scale(exponent: float) -> None:
    for scale in (1.0, 1e-6):
        found = law.MEASURES["growth"](measured(exponent, scale), of="size", given={})
        assert found.low < exponent < found.high < found.low + 0.2


def test_growth_of_what_overflows_is_infinite() -> None:
    for lost in (math.inf, math.nan):
        table = measured(0.5)
        table.loc[table["depth"] == 32, "size"] = lost
        assert law.MEASURES["growth"](table, of="size", given={}).value == math.inf
    kept = law.MEASURES["growth"](table, of="size", given={"depth": [4, 8, 16]})
    assert kept.value == pytest.approx(0.5, abs=0.1)


def test_trend_is_a_change_per_doubling_and_not_an_exponent() -> None:
    table = pd.DataFrame(itertools.product(DEPTHS, SEEDS), columns=["depth", "seed"])
    table["slope"] = 0.5 + 0.03 * np.log2(table["depth"]) + table["seed"] / 50
    found = law.MEASURES["trend"](table, of="slope", given={})
    assert found[:4] == pytest.approx((0.03, 0.03, 0.03, 5))
    assert law.MEASURES["trend"](table.assign(slope=0.7), of="slope", given={}).value == (
        pytest.approx(0)
    )


def test_level_and_its_gap_are_averaged_within_and_paired_by_seed() -> None:
    low, high = best({4: -1.0, 8: -2.0}, phi="abs"), best({4: -0.5, 8: -1.0}, phi="relu")
    both = pd.concat([low, high])
    found = law.MEASURES["level"](both, of="log_loss", given={"phi": "abs"})
    assert found.value == pytest.approx(-1.47)
    assert found.high > found.low
    sides = {"first": {"phi": "abs"}, "second": {"phi": "relu"}}
    gap = law.MEASURES["level_gap"](both, of="log_loss", given={}, **sides)
    assert gap[:4] == pytest.approx((-0.75, -0.75, -0.75, 5))
    back = {"first": sides["second"], "second": sides["first"]}
    assert law.MEASURES["level_gap"](both, of="log_loss", given={}, **back).value == -gap.value


def test_deeper_is_the_worst_step_and_unknown_where_a_depth_is() -> None:
    found = law.MEASURES["deeper"](best({4: 0.0, 8: -1.0, 16: -1.1}), given={})
    assert found[:4] == pytest.approx((-0.1, -0.1, -0.1, 5))
    assert law.MEASURES["deeper"](best({4: 0.0, 8: -1.0, 16: -0.9}), given={}).low > 0
    wider = best({4: 0.0, 8: -1.0}).rename(columns={"depth": "width"})
    assert law.MEASURES["deeper"](wider, given={}, along="width").value == pytest.approx(-1.0)
    table = best({4: 0.0, 8: -1.0})
    table.loc[0, "flag"] = "edge"
    assert math.isnan(law.MEASURES["deeper"](table, given={}).value)


@pytest.mark.parametrize("slope", [-2.4, -1.0, 0.7])
def test_a_ridge_has_the_slope_it_was_made_with(slope: float) -> None:
    assert law.MEASURES["ridge"](ridge(slope), given={}).value == pytest.approx(slope)


def test_a_ridge_leaves_out_the_edge_and_needs_three_multipliers() -> None:
    table = ridge(-2.0)
    table.loc[table["log2_gain"] == 1, ["optimum", "flag"]] = [40.0, "edge"]
    assert law.MEASURES["ridge"](table, given={}).value == pytest.approx(-2.0)
    table.loc[table["log2_gain"] == 0, "flag"] = "lost"
    assert math.isnan(law.MEASURES["ridge"](table, given={}).value)


def test_a_ridge_that_turns_has_a_gap_and_one_that_stays_has_none() -> None:
    sides = {"first": {"layers": 4}, "second": {"layers": 64}, "given": {}}
    turned = pd.concat([ridge(-2.4), ridge(-1.0, 64)])
    assert law.MEASURES["ridge_gap"](turned, **sides).value == pytest.approx(-1.4)
    still = pd.concat([ridge(-1.3), ridge(-1.3, 64)])
    assert law.MEASURES["ridge_gap"](still, **sides).value == pytest.approx(0)


def test_the_tuned_gap_takes_the_best_multiplier_and_the_worst_size() -> None:
    one = best({4: -1.0, 16: -2.0}, block_depth=1)
    two = [best({4: loss, 16: loss}, block_depth=2) for loss in (-0.2, -0.9)]
    both = pd.concat([one, *two])
    sides = {"first": {"block_depth": 1}, "second": {"block_depth": 2}}
    found = law.MEASURES["tuned_gap"](both, given={}, **sides)
    assert found[:4] == pytest.approx((-0.1, -0.1, -0.1, 5))
    tuned = law.tuned(pd.concat(two), ["layers"])
    assert tuned["value"].to_numpy() == pytest.approx([-0.87, -0.87])


def test_a_tuned_gap_counts_no_optimum_on_an_edge_and_is_unknown_without_any() -> None:
    one, sides = (
        best({4: -1.0}, block_depth=1),
        {"first": {"block_depth": 1}, "second": {"block_depth": 2}},
    )
    two = [best({4: -0.2}, block_depth=2), best({4: -5.0}, block_depth=2).assign(flag="edge")]
    found = law.MEASURES["tuned_gap"](pd.concat([one, *two]), given={}, **sides)
    assert found[:4] == pytest.approx((-0.8, -0.8, -0.8, 5))
    assert law.tuned(pd.concat(two), ["layers"])["value"].to_numpy() == pytest.approx([-0.17])
    none = law.MEASURES["tuned_gap"](pd.concat([one, two[1]]), given={}, **sides)
    assert math.isnan(none.value)
    unknown = law.tuned(two[1], ["block_depth", "layers"])
    assert unknown["block_depth"].tolist() == [2], "the cell is told, and stays a whole number"
    assert unknown["value"].isna().all()


def test_each_cell_has_its_own_measure() -> None:
    table = pd.concat([measured(p).assign(rules=name) for name, p in (("a", 0.5), ("b", -1.0))])
    found = law.each("growth", table, ["rules"], of="size")
    assert found["rules"].tolist() == ["a", "b"]
    assert found["value"].to_numpy() == pytest.approx([0.5, -1.0], abs=0.1)
    assert ((found["low"] < found["value"]) & (found["value"] < found["high"])).all()


def test_sizes_are_logarithms_and_an_overflow_is_infinite() -> None:
    found = law.sizes(measured(0.5, noise=0.0), ["depth"], "size")
    assert found["value"].to_numpy() == pytest.approx([1, 1.5, 2, 2.5])
    table = measured(0.5)
    table.loc[table["depth"] == 32, "size"] = math.nan
    assert law.sizes(table, ["depth"], "size")["value"].iloc[-1] == math.inf


def test_a_guide_passes_through_the_last_point_with_its_exponent() -> None:
    lines = law.sizes(measured(0.5, noise=0.0).assign(rules="ode"), ["rules", "depth"], "size")
    guide = law.guides(lines, {"ode": -1.0})
    assert guide["value"].to_numpy() == pytest.approx([5.5, 4.5, 3.5, 2.5])
    far = pd.DataFrame({"rules": "ode", "log2_epsilon": [-6, -4], "value": [7.0, 0.0]})
    guide = law.guides(far, {"ode": 0.5}, along="log2_epsilon")
    assert guide["value"].to_numpy() == pytest.approx([-1, 0])


def test_distances_are_relative_to_the_widest_gap_of_the_same_seed() -> None:
    gaps = {f"gap_{j}": [scale * 2 ** (-j / 2) for scale in (1, 5)] for j in (4, 5, 6)}
    table = pd.DataFrame({"depth": 64, "seed": [1, 2], **gaps, "gap_7": math.nan})
    found = law.distances(table, ["depth"]).sort_values("log2_epsilon")
    assert found["log2_epsilon"].tolist() == [-6, -5, -4]
    assert found["value"].to_numpy() == pytest.approx([-1, -0.5, 0])


def plane(rules: str, init: float, move: float, hidden: float, noise: float = 0.01) -> pd.DataFrame:
    """A point of the plane whose three sizes have the given exponents."""
    parts = {"stream_init": init, "stream_move": move, "hidden_move": hidden}
    columns = {of: measured(p, noise=noise)["size"] for of, p in parts.items()}
    return measured(0).assign(rules=rules, **columns)


@pytest.mark.parametrize(
    ("rules", "exponents", "phase"),
    [
        ("alpha(0.25, 0.75)", (3.0, 3.0, 2.0), "unstable at init"),
        ("alpha(0.5, 0)", (0.0, 0.5, 0.5), "unstable in training"),
        ("alpha(1, 0.25)", (-0.5, -0.25, -0.25), "trivial"),
        ("alpha(1.25, -0.25)", (-0.75, 0.0, 0.25), "unfaithful"),
        ("alpha(0.75, 0.25)", (-0.25, 0.0, 0.0), "redundant"),
        ("ode", (-0.5, 0.0, 0.0), "redundant"),
        ("depth_mup", (0.0, 0.0, 0.0), "diverse"),
    ],
)
def test_exponents_as_in_theory_give_the_theorys_phase(
    rules: str, exponents: tuple[float, float, float], phase: str
) -> None:
    (row,) = law.phases(plane(rules, *exponents), limits=LIMITS).to_dict("records")
    assert (row["phase"], row["theory"], row["sure"]) == (phase, phase, True)
    assert phase in PHASES


def test_a_phase_is_measured_and_not_taken_from_the_theory() -> None:
    (row,) = law.phases(plane("depth_mup", 0.0, 0.5, 0.5), limits=LIMITS).to_dict("records")
    assert (row["phase"], row["theory"]) == ("unstable in training", "diverse")
    wide = dict.fromkeys(LIMITS, 0.6)
    (row,) = law.phases(plane("depth_mup", 0.0, 0.5, 0.5), limits=wide).to_dict("records")
    assert row["phase"] == "diverse"


def test_a_phase_that_noise_could_change_is_not_sure() -> None:
    (row,) = law.phases(plane("ode", -0.5, 0.1, 0.0, 0.3), limits=LIMITS).to_dict("records")
    assert not row["sure"]


RATES = np.arange(-6.0, 1.0)


def curves(losses: dict[int, list[float]]) -> pd.DataFrame:
    """Sweeps over RATES whose log losses are given, a cell per depth, one seed."""
    rows = [
        {"depth": depth, "seed": 1, "log2_lr": rate, "loss_mean": math.exp(loss)}
        for depth, log_losses in losses.items()
        for rate, loss in zip(RATES, log_losses, strict=True)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("losses", "rate", "flag"),
    [
        ([4, 3, 2, 1, 1.5, 2.5, 9], -1.5, ""),  # bound 2, halfway between 1.5 and 2.5
        ([4, 3, 2, 1, 1.5, 2.0, 9], -1 + 0 / 7, ""),
        ([4, 3, 2, 1, 1.5, math.inf, 9], -2, "cliff"),
        ([4, 3, 2, 1, 1.1, 1.2, 1.3], 0, "edge"),
        ([1, 3, 1.2, 1.1, 1.1, 1.1, 1.1], -5.5, ""),  # the first time it rises is what counts
    ],
)
def test_the_largest_viable_rate_is_where_the_loss_has_risen_by_so_much(
    losses: list[float], rate: float, flag: str
) -> None:
    found = law.viable(curves({4: losses}), ["depth"], within=1.0).iloc[0]
    assert found["optimum"] == pytest.approx(rate)
    assert found["flag"] == flag


def test_a_common_rate_is_the_anchors_and_says_where_a_cell_cannot_follow() -> None:
    hollow = [4.0, 3, 2, 1, 2, 3, 4]  # best at RATES[3]
    runs = curves({4: hollow, 8: [*hollow[1:], 5.0], 16: [1, 0, 1, math.inf, *[math.inf] * 3]})
    found = law.common(runs.assign(block_depth=1, gain=1.0), ["depth"], {"depth": 4})
    assert list(found["optimum"]) == pytest.approx([RATES[3]] * 3)
    assert list(found["log_loss"]) == pytest.approx([1, 2, math.inf])
    assert list(found["flag"]) == ["", "", "failed"]
    narrow = runs[(runs["depth"] == 4) | (runs["log2_lr"] < RATES[3])]
    found = law.common(narrow.assign(block_depth=1, gain=1.0), ["depth"], {"depth": 4})
    assert list(found["flag"]) == ["", "edge", "edge"]


def test_where_every_run_diverged_no_rate_is_viable() -> None:
    found = law.viable(curves({4: [math.inf] * 7}), ["depth"], within=1.0).iloc[0]
    assert math.isnan(found["optimum"]) and found["flag"] == "failed"


def test_a_spread_is_the_largest_ratio_within_a_seed() -> None:
    table = pd.DataFrame({"seed": [1, 1, 1, 2, 2, 2], "loss": [1, 2, 4, 3, 3, 3.0], "depth": 2})
    found = law.MEASURES["spread"](table, of="loss", given={"depth": 2})
    assert found.value == pytest.approx(math.log(4) / 2)


def test_a_tilt_moves_every_slope_by_its_exponent() -> None:
    best = pd.DataFrame({"depth": [2, 4, 8] * 2, "seed": [1] * 3 + [2] * 3, "flag": ""})
    best["optimum"] = [-1.0, -1.5, -2.0, -2.0, -2.5, -3.0]
    assert law.slope(best, along="depth", given={}).value == pytest.approx(-0.5)
    upright = law.tilted(best, ["optimum"], 0.5)
    assert law.slope(upright, along="depth", given={}).value == pytest.approx(0)
    assert best["optimum"].tolist()[0] == -1.0


def test_losses_are_set_against_those_of_the_smallest_size_seed_by_seed() -> None:
    best = pd.DataFrame({"when": "late", "depth": [2, 4, 2, 4], "seed": [1, 1, 2, 2]})
    best["log_loss"] = [1.0, 0.8, 3.0, 2.7]  # seeds differ by more than depths do
    found = law.above(best, ["when"]).set_index("depth")
    assert [found[name].loc[2] for name in ("value", "low", "high")] == [0, 0, 0]
    assert found["value"].loc[4] == pytest.approx(-0.25)
