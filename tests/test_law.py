import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fathom import law

RATES = np.arange(-8.0, 1.0)
D21 = [*range(3, 17), 18, 20, 22, 24, 26, 28, 30]


def curve(best: float, log_loss: float = 0.0, bend: float = 0.1) -> list[float]:
    """Losses whose logarithm is an exact parabola in the rate."""
    return list(np.exp(log_loss + bend * (RATES - best) ** 2))


def sweep(losses: dict[tuple[int, int], list[float]]) -> pd.DataFrame:
    """A table of losses at RATES, for cells (depth, seed)."""
    rows = [
        {"depth": depth, "seed": seed, "log2_lr": rate, "loss_mean": loss}
        for (depth, seed), curve in losses.items()
        for rate, loss in zip(RATES, curve, strict=True)
    ]
    return pd.DataFrame(rows).assign(block_depth=1, gain=1.0)


def optimum(losses: list[float]) -> pd.Series:
    return law.optima(sweep({(4, 1): losses}), ["depth"]).iloc[0]


def best(table: dict[tuple[int, int], float], flag: str = "") -> pd.DataFrame:
    """A table of optima, for cells (depth, seed)."""
    rows = [{"depth": d, "seed": s, "optimum": value} for (d, s), value in table.items()]
    return pd.DataFrame(rows).assign(flag=flag)


@pytest.mark.parametrize("vertex", [-5.0, -4.6, -4.5, -3.3, -2.51])
def test_the_optimum_of_a_parabola_is_exact(vertex: float) -> None:
    found = optimum(curve(vertex, log_loss=-0.7))
    assert found["optimum"] == pytest.approx(vertex)
    assert found["log_loss"] == pytest.approx(-0.7)
    assert found["flag"] == ""


@pytest.mark.parametrize(
    ("vertex", "flag"), [(-8.9, "edge"), (-7.2, "edge"), (-6.2, ""), (-1.8, ""), (-0.8, "edge")]
)
def test_an_optimum_in_the_outer_two_rates_is_an_edge(vertex: float, flag: str) -> None:
    assert optimum(curve(vertex))["flag"] == flag


def test_beside_a_diverged_run_the_optimum_is_the_grid_point_and_a_cliff() -> None:
    found = optimum([*curve(-3.3)[:6], math.inf, math.inf, math.inf])
    assert (found["optimum"], found["flag"]) == (-3.0, "cliff")
    assert found["log_loss"] == pytest.approx(0.1 * 0.3**2)
    assert optimum([*curve(-1.0)[:8], math.inf])["flag"] == "cliff"


def test_where_every_run_diverged_the_optimum_has_failed() -> None:
    found = optimum([math.inf] * 9)
    assert (found["flag"], found["log_loss"]) == ("failed", math.inf)
    assert math.isnan(found["optimum"])


def test_two_runs_at_one_rate_are_no_curve() -> None:
    twice = pd.concat([sweep({(4, 1): curve(-3.3)}), sweep({(4, 1): curve(-4.0)})])
    with pytest.raises(LookupError, match="two runs of one cell"):
        law.optima(twice, ["depth"])


@pytest.mark.parametrize("derive", [law.optima, partial(law.viable, within=0.1), law.bands])
def test_a_column_that_cannot_tell_cells_apart_is_an_error(derive: Any) -> None:
    runs = sweep({(2, 1): curve(-4.0), (4, 1): curve(-4.0)})
    with pytest.raises(LookupError, match=r"no column kernel, as all .* leave it out of by"):
        derive(runs, ["depth", "kernel"])
    off = runs.assign(layer_scale=np.where(runs["depth"] == 2, np.nan, 0.1))
    with pytest.raises(LookupError, match="column layer_scale is empty in some rows"):
        derive(off, ["depth", "layer_scale"])


def test_rows_that_are_not_there_are_an_error() -> None:
    assert len(law.where(sweep({(4, 1): curve(-3.3)}), {"depth": [4, 8], "seed": 1})) == len(RATES)
    with pytest.raises(LookupError, match="depth"):
        law.where(sweep({(4, 1): curve(-3.3)}), {"depth": 8})


def test_a_parabola_is_read_between_grid_points_exactly() -> None:
    loss = 0.3 + 0.1 * (RATES + 3.3) ** 2
    for wanted in (-8.0, -7.4, -3.5, -2.0, -0.2, 0.0):
        assert law.loss_at(RATES, loss, wanted) == pytest.approx(0.3 + 0.1 * (wanted + 3.3) ** 2)


def test_outside_the_grid_the_loss_is_unknown() -> None:
    assert math.isnan(law.loss_at(RATES, RATES**2, -8.1))
    assert math.isnan(law.loss_at(RATES, RATES**2, 0.1))


def test_between_a_run_and_one_that_diverged_the_loss_is_infinite() -> None:
    loss = np.array([0.1 * (rate + 3.3) ** 2 if rate < -1 else math.inf for rate in RATES])
    assert law.loss_at(RATES, loss, -1.5) == math.inf
    assert law.loss_at(RATES, loss, -2.0) == pytest.approx(loss[6])
    assert law.loss_at(RATES, loss, -2.25) == pytest.approx(0.75 * loss[6] + 0.25 * loss[5])


def test_a_rate_costs_nothing_where_it_was_tuned_and_something_elsewhere() -> None:
    runs = sweep({(depth, 1): curve(-1 - math.log2(depth), 0.5) for depth in (4, 8, 16)})
    costs = law.transfer(runs, ["depth"], {"depth": 4}).set_index("depth")["regret"]
    assert costs[4] == pytest.approx(0)
    assert costs[8] == pytest.approx(0.1)
    assert costs[16] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("name", "moves"), [("constant", 0.0), ("inverse", -2.0), ("three_halves", -3.0)]
)
def test_a_prediction_carries_the_rate_by_its_power_of_depth(name: str, moves: float) -> None:
    runs = sweep({(4, 1): curve(-2.2), (16, 1): curve(-2.2 + moves)})
    found = law.transfer(runs, ["depth"], {"depth": 4}, [name]).set_index("depth")
    assert found.loc[16, "log2_lr"] == pytest.approx(-2.2 + moves)
    assert found.loc[16, "regret"] == pytest.approx(0)
    assert law.PREDICTIONS[name](4, 4) == 0


def test_a_rate_is_tuned_at_the_anchor_for_each_of_the_other_columns() -> None:
    runs = [
        sweep({(4, 1): curve(at), (8, 1): curve(at)}).assign(phi=phi)
        for phi, at in (("abs", -5.0), ("relu", -3.0))
    ]
    found = law.transfer(pd.concat(runs), ["phi", "depth"], {"depth": 4})
    assert found.set_index(["phi", "depth"])["log2_lr"].to_dict() == pytest.approx(
        {("abs", 4): -5, ("abs", 8): -5, ("relu", 4): -3, ("relu", 8): -3}
    )


def test_the_rate_carried_is_the_anchors_mean_over_seeds() -> None:
    runs = sweep({(4, 1): curve(-4.0), (4, 2): curve(-3.0), (8, 1): curve(-3.5)})
    assert law.transfer(runs, ["depth"], {"depth": 4})["log2_lr"].to_numpy() == pytest.approx(-3.5)


@pytest.mark.parametrize(
    ("kappa", "depths", "slope", "off"),
    [
        (2.0, D21, -1.389, 0.002),
        (1.0, D21, -1.314, 0.002),
        (2.0, [16, 32, 64, 128], -1.475, 0.002),
        (1.0, [16, 32, 64, 128], -1.452, 0.002),
        (2.0, [64, 128, 256, 512, 1024], -1.5, 0.01),
        (1.0, [64, 128, 256, 512, 1024], -1.5, 0.0101),
    ],
)
def test_the_finite_depth_formula_has_the_papers_slopes(
    kappa: float, depths: list[int], slope: float, off: float
) -> None:
    found = law.formula_exponent(depths, kappa=kappa)
    assert found.value == pytest.approx(slope, abs=off)


@pytest.mark.parametrize(
    ("depths", "ratios", "digits"),
    [
        ([4, 6, 8, 12, 16], [0.704, 0.416, 0.281, 0.160, 0.106], 3),
        ([24, 30, 48, 64, 128], [0.0588, 0.0424, 0.0212, 0.0139, 0.0049], 4),
    ],
)
def test_the_finite_depth_formula_has_the_papers_ratios(
    depths: list[int], ratios: list[float], digits: int
) -> None:
    found = law.finite_depth(depths) / law.finite_depth(3)
    assert list(np.round(found, digits)) == ratios


def test_the_constants_of_the_chain_are_those_of_the_derivation() -> None:
    # section 4.3: with ReLU, mean square input 1/2 and read-out variance 2/n^2, c_0 = 1/4
    assert law.chain_constant(2.0, 0.5, readout=2.0) == 0.25
    assert law.finite_depth(3, constant=4.0) == pytest.approx(law.finite_depth(3) / 2)


def noisy(sweeps: int) -> pd.DataFrame:
    """Optima of many sweeps of 5 seeds that move as depth^(-3/2), with noise in each."""
    cells = [range(sweeps), range(5), [4, 16, 64, 256]]
    index = pd.MultiIndex.from_product(cells, names=["sweep", "seed", "depth"])
    table = index.to_frame(index=False).assign(flag="")
    noise = np.random.default_rng(0).normal(0, 0.2, len(table))
    return table.assign(optimum=-1.5 * np.log2(table["depth"]) + noise)


def covered(intervals: list[tuple[float, float]]) -> float:
    return float(np.mean([low <= -1.5 <= high for low, high in intervals]))


def test_the_interval_of_a_slope_covers_the_truth_as_often_as_it_says() -> None:
    found = law.slopes(noisy(2000), "sweep", along="depth").values()
    assert 0.93 <= covered([(one.low, one.high) for one in found]) <= 0.97


def test_a_percentile_bootstrap_of_five_seeds_does_not() -> None:
    rng, sizes = np.random.default_rng(0), np.log2([4, 16, 64, 256])
    noise = rng.normal(0, 0.2, (2000, 5, 4))
    weights = (sizes - sizes.mean()) / ((sizes - sizes.mean()) ** 2).sum()
    slopes = -1.5 + noise @ weights
    means = slopes[:, rng.integers(0, 5, (1000, 5))].mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert covered(list(zip(low, high, strict=True))) < 0.93


def test_a_slope_is_recovered_from_noisy_optima_inside_its_own_interval() -> None:
    found = law.slope(noisy(2), along="depth", given={"sweep": 1})
    assert found.low < -1.5 < found.high < found.low + 0.3
    assert found.seeds == 5


def test_a_slope_leaves_out_what_a_claim_may_not_use() -> None:
    good = best({(d, s): -float(np.log2(d)) for d in (4, 8, 16) for s in (1, 2)})
    for flag, kept in {"edge": False, "failed": False, "cliff": True}.items():
        spoilt = pd.concat([good, best({(32, 1): 40.0, (32, 2): 40.0}, flag)])
        found = law.slope(spoilt, along="depth", given={}).value
        assert (found == pytest.approx(-1)) is not kept


@pytest.mark.parametrize("usable", [0, 2])
def test_one_seed_with_fewer_than_three_usable_sizes_leaves_no_slope(usable: int) -> None:
    table = best({(d, s): -float(np.log2(d)) for s in (1, 2, 3) for d in (4, 8, 16)})
    assert law.slope(table, along="depth", given={}).value == pytest.approx(-1)
    table.loc[6 + usable :, "flag"] = "edge"
    assert math.isnan(law.slope(table, along="depth", given={}).value)


def test_the_interval_is_students() -> None:
    found = law.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776 * math.sqrt(2.5 / 5)
    assert found[:4] == pytest.approx((3.0, 3 - half, 3 + half, 5), rel=1e-3)


def test_a_diverged_seed_makes_the_interval_span_all_seeds() -> None:
    assert law.interval([1.0, 2.0, math.inf])[:4] == (2.0, 1.0, math.inf, 3)
    assert law.interval([math.inf] * 3)[:4] == (math.inf, math.inf, math.inf, 3)


@pytest.mark.parametrize("samples", [[], [1.0], [1.0, math.nan, 2.0]])
def test_without_two_known_seeds_there_is_no_interval(samples: list[float]) -> None:
    found = law.interval(samples)
    assert math.isnan(found.value)
    assert (found.low, found.high, found.seeds) == (-math.inf, math.inf, len(samples))


def test_bands_are_the_same_every_time_and_hold_the_mean() -> None:
    runs = sweep({(4, seed): curve(-3 - seed / 9) for seed in range(5)})
    found = law.bands(runs, ["depth"])
    pd.testing.assert_frame_equal(found, law.bands(runs.sample(frac=1, random_state=0), ["depth"]))
    assert (found["low"] < found["log_loss"]).all()
    assert (found["log_loss"] < found["high"]).all()


def test_bands_and_lowest_points_of_what_else_was_swept() -> None:
    runs = sweep({(4, 1): curve(-2), (4, 2): curve(-2)}).rename(columns={"log2_lr": "log2_gain"})
    found = law.bands(runs, ["depth"], over="log2_gain")
    assert list(found.columns) == ["depth", "log2_gain", "log_loss", "low", "high"]
    rows = [(4, -1, False), (4, 0, True), (4, 1, False), (8, -1, True), (8, 0, False)]
    drawn = pd.DataFrame(rows, columns=["depth", "log2_gain", "lowest"])
    best = law.lowest(drawn, over="log2_gain")
    assert best["optimum"].tolist() == [0, -1]
    assert best["flag"].tolist() == ["", "edge"]
    ours = drawn.drop(columns="lowest").assign(log_loss=1.0 - drawn["lowest"])
    assert law.lowest(ours, over="log2_gain")["optimum"].tolist() == best["optimum"].tolist()


def test_a_band_is_infinite_where_one_seed_diverged() -> None:
    runs = sweep({(4, 1): curve(-3.0), (4, 2): [*curve(-3.0)[:8], math.inf]})
    last = law.bands(runs, ["depth"]).iloc[-1]
    assert (last["log_loss"], last["low"], last["high"]) == (math.inf, math.inf, math.inf)


def test_a_network_that_stays_at_chance_has_no_optimum() -> None:
    rates = np.arange(-4, 5)
    table = pd.DataFrame({"depth": 4, "seed": 1, "log2_lr": rates, "loss": 2.4 + 0.01 * rates**2})
    table = table.assign(block_depth=1, gain=1.0)
    (row,) = law.optima(table, ["depth"], "loss", chance=2.3).to_dict("records")
    assert row["flag"] == "lost"
    (row,) = law.optima(table, ["depth"], "loss", chance=2.5).to_dict("records")
    assert row["flag"] == ""
