"""Settings other than the rate: where their best value lies, and what another size's costs."""

import math

import pandas as pd
import pytest
from fathom import law

SEEDS = (1, 2, 3, 4, 5)


def runs(shallow: dict[str, float], deep: dict[str, float]) -> pd.DataFrame:
    """Runs of a setting's choices at depths 3 and 12, with log losses that differ by seed."""
    return pd.DataFrame(
        {"depth": depth, "choice": name, "seed": seed, "loss_mean": math.exp(log_loss + seed / 10)}
        for depth, losses in ((3, shallow), (12, deep))
        for name, log_loss in losses.items()
        for seed in SEEDS
    )


def regret(table: pd.DataFrame) -> law.Interval:
    sizes = {"anchor": {"depth": 3}, "at": {"depth": 12}}
    return law.MEASURES["choice_regret"](table, among=["choice"], given={}, **sizes)


def test_the_regret_of_a_choice_is_its_loss_above_the_best_of_the_other_size() -> None:
    found = regret(runs({"a": 0.0, "b": 0.3, "c": 1.0}, {"a": 0.25, "b": 0.2, "c": 0.9}))
    assert found.value == pytest.approx(0.05)
    assert found.seeds == 5
    same = regret(runs({"a": 0.0, "b": 0.3}, {"a": -0.25, "b": 0.2}))
    assert (same.value, same.high) == (0, 0)


def test_a_choice_that_diverges_costs_everything_and_one_of_another_seed_nothing() -> None:
    assert regret(runs({"a": 0.0, "b": 0.3}, {"a": math.inf, "b": 0.2})).value == math.inf
    assert regret(runs({"a": 0.0, "b": 0.3}, {"a": 0.1, "b": math.inf})).value == 0


def test_a_choice_without_one_run_of_every_seed_is_refused() -> None:
    table = runs({"a": 0.0, "b": 0.3}, {"a": 0.1, "b": 0.4})
    for wrong in (table.iloc[1:], pd.concat([table, table.iloc[:1]])):
        with pytest.raises(LookupError, match="a choice of choice has not one run of every seed"):
            regret(wrong)


def optima(deep: float, flag: str = "") -> pd.DataFrame:
    rows = [
        {"depth": depth, "seed": seed, "optimum": optimum + seed, "log_loss": 0.0, "flag": ""}
        for depth, optimum in ((3, 1.0), (12, deep))
        for seed in SEEDS
    ]
    rows[0]["flag"] = flag
    return pd.DataFrame(rows)


def test_an_optimum_that_moved_is_told_in_octaves_and_an_edge_is_not_used() -> None:
    sides = {"first": {"depth": 12}, "second": {"depth": 3}, "given": {}}
    assert law.MEASURES["moved"](optima(1.5), **sides).value == pytest.approx(0.5)
    assert law.MEASURES["moved"](optima(1.5, "cliff"), **sides).value == pytest.approx(0.5)
    assert math.isnan(law.MEASURES["moved"](optima(1.5, "edge"), **sides).value)


def test_two_kinds_of_network_may_lie_in_two_tables() -> None:
    rows = [
        {"kind": kind, "depth": depth, "seed": seed, "flag": "", "log_loss": loss}
        | {"optimum": slope * math.log2(depth) + seed}
        for kind, slope, loss in (("a", -1.0, 0.5), ("b", -0.25, 0.2))
        for depth in (3, 6, 12)
        for seed in SEEDS
    ]
    both = pd.DataFrame(rows)
    apart = law.where(both, {"kind": "b"}), law.where(both, {"kind": "a"})
    sides = {"first": {"kind": "b"}, "second": {"kind": "a"}, "given": {"depth": [3, 6, 12]}}
    for measure, more, value in (("slope_gap", {"along": "depth"}, 0.75), ("worst_gap", {}, -0.3)):
        for tables in ((both,), apart):
            found = law.MEASURES[measure](*tables, **sides, **more)
            assert found.value == pytest.approx(value)


def test_what_is_swept_is_counted_in_octaves() -> None:
    table = pd.DataFrame(
        {"depth": 3, "block_depth": 1, "gain": [1.0, 1.4142], "gamma_0": [0.5, 2.0]}
        | {"decay": [0.0, 0.25], "batch": [16, 128], "momentum": [0.0, 0.875]}
    )
    said = law.sized(table)
    assert list(said["log2_gain"]) == [0, 0.5]
    assert list(said["log2_gamma_0"]) == [-1, 1]
    assert list(said["log2_decay"]) == [-math.inf, -2]
    assert list(said["log2_batch"]) == [4, 7]
    assert list(said["log2_memory"]) == [0, 3]
    assert "log2_batch" not in law.sized(table.drop(columns="batch"))


def test_a_training_curve_has_a_point_for_each_fifth_of_the_steps() -> None:
    names = ("loss_early", "loss_second", "loss_third", "loss_fourth", "loss_late")
    rows = [
        {"depth": depth, "seed": seed} | {name: math.exp(-i) for i, name in enumerate(names)}
        for depth in (3, 12)
        for seed in SEEDS
    ]
    rows[0]["loss_late"] = math.inf
    found = law.fifths(pd.DataFrame(rows), ["depth"])
    assert list(found["fifth"]) == [1, 2, 3, 4, 5] * 2
    assert list(found["value"][5:]) == pytest.approx([0, -1, -2, -3, -4])
    assert found["high"][4] == math.inf
