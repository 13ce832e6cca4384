"""What a claim may measure: each function takes a table and returns an Interval."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fathom.law.choices import choice_regret, moved
from fathom.law.convergence import approach, bias, convergence, share_below
from fathom.law.formula import finite_depth, mean_square_slope
from fathom.law.interval import UNUSABLE, Interval, interval, minus, where


def slope(
    table: pd.DataFrame, *, along: str, given: Mapping[str, Any], shift: float = 0.0
) -> Interval:
    """Octaves the optimum moves per doubling of a size: the exponent of a power law.

    Least squares over the usable sizes, seed by seed; NaN with fewer than three sizes. Where
    an axis is another's with a power of the size on it, `shift` adds that power."""
    rows = where(table, given)
    return interval([_slope(one, along) + shift for _, one in rows.groupby("seed")])


def slopes(best: pd.DataFrame, by: str, *, along: str) -> dict[str, Interval]:
    """`slope` for every value of a column."""
    return {str(name): slope(rows, along=along, given={}) for name, rows in best.groupby(by)}


def _slope(rows: pd.DataFrame, along: str) -> float:
    rows = rows[~rows["flag"].isin(UNUSABLE)]
    sizes = rows[along].to_numpy(float)
    if len(np.unique(sizes)) < 3:
        return math.nan
    return float(np.polyfit(np.log2(sizes), rows["optimum"].to_numpy(float), 1)[0])


def mean_regret(table: pd.DataFrame, *, given: Mapping[str, Any]) -> Interval:
    """The regret of a transferred rate, averaged over cells, seed by seed; NaN where the grid
    of one of the cells does not reach the rate."""
    regret = where(table, given).groupby("seed")["regret"]
    return interval([float(np.mean(one.to_numpy(float))) for _, one in regret])


def slope_gap(
    table: pd.DataFrame,
    against: pd.DataFrame | None = None,
    *,
    along: str,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Interval:
    """`slope` on one kind of network minus that on another, paired by seed; `against` is the table
    that holds the other, where it is not the same."""
    sides = _sides(table, against, first, second, given)
    return _gap(*sides, lambda one: _slope(one, along))


def regret_gap(
    table: pd.DataFrame, *, first: str, second: str, given: Mapping[str, Any], of: str = "regret"
) -> Interval:
    """Median regret of one prediction minus that of another, seed by seed, or of the size of
    `missed`, the octaves between prediction and optimum; NaN where the grid of one of the cells
    does not reach a rate."""
    rows = where(table, given)
    cost = rows[of].abs() if of == "missed" else rows[of]
    rows = rows.assign(cost=cost)
    sides = where(rows, {"prediction": first}), where(rows, {"prediction": second})
    return _gap(*sides, lambda one: float(np.median(one["cost"])))


def worst_gap(
    table: pd.DataFrame,
    against: pd.DataFrame | None = None,
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Interval:
    """Best log loss of one kind of run minus that of another, at the depth where it is
    largest: below zero means that the first is better at every depth. The depth is the one whose
    interval reaches highest. NaN where a depth lacks a usable optimum on either side; `against`
    as in `slope_gap`."""
    rows = _sides(table, against, first, second, given)
    sides = [_usable(side).set_index(["depth", "seed"])["log_loss"] for side in rows]
    gap = minus(*sides).groupby("depth")
    found = [interval(one.to_numpy(float)) for _, one in gap]
    unknown = [one for one in found if math.isnan(one.value)]
    return unknown[0] if unknown else max(found, key=lambda one: one.high)


def worst_ratio(
    table: pd.DataFrame, *, kappa: float, constant: float, given: Mapping[str, Any]
) -> Interval:
    """The measured rate over the finite-depth formula's, at the depth whose interval
    reaches farthest from one (the geometric mean over seeds)."""
    rows = where(table, given)
    off = rows["optimum"] - np.log2(finite_depth(rows["depth"], kappa=kappa, constant=constant))
    found = [interval(one.to_numpy(float)) for _, one in off.groupby(rows["depth"])]
    log2 = max(found, key=lambda one: max(abs(one.low), abs(one.high)))
    return Interval(2**log2.value, 2**log2.low, 2**log2.high, log2.seeds)


def growth(
    table: pd.DataFrame, *, of: str, given: Mapping[str, Any], along: str = "depth"
) -> Interval:
    """The exponent of a measured column in a size: least squares in logarithms, seed by seed."""
    return interval(_exponents(where(table, given), of, along).tolist())


def growth_gap(
    table: pd.DataFrame,
    *,
    of: str,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
    along: str = "depth",
) -> Interval:
    """The exponent of a measured column in one kind of run minus another's, paired by seed."""
    rows = where(table, given)
    sides = [_exponents(where(rows, side), of, along) for side in (first, second)]
    return interval(minus(*sides).tolist())


def added_growth(
    table: pd.DataFrame,
    *,
    of: str,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
    base: float,
) -> Interval:
    """The exponent in depth of what one kind of run adds to a column over another, divided by
    sqrt(depth / base) - 1, paired by seed: 0 where a share of the other's movement is faster by
    sqrt(depth / base) and nothing else differs, at every depth; infinite where it adds nothing."""
    rows, cell = where(table, given), ["seed", "depth"]
    sides = [where(rows, side).set_index(cell)[of] for side in (first, second)]
    more = minus(*sides).rename("more").reset_index()
    faster = np.sqrt(more["depth"].to_numpy(float) / base) - 1
    more["more"] = np.maximum(more["more"].to_numpy(float) / faster, 0)
    with np.errstate(divide="ignore"):
        return interval(_exponents(more, "more", "depth").tolist())


def _exponents(rows: pd.DataFrame, of: str, along: str) -> pd.Series:
    found: dict[Any, float] = {}
    for seed, one in rows.groupby("seed"):
        size, value = np.log2(one[along].to_numpy(float)), np.log2(one[of].to_numpy(float))
        found[seed] = float(np.polyfit(size, value, 1)[0]) if np.isfinite(value).all() else math.inf
    return pd.Series(found)


def trend(
    table: pd.DataFrame, *, of: str, given: Mapping[str, Any], along: str = "depth"
) -> Interval:
    """How much a measured column changes per doubling of a size, seed by seed."""
    rows = where(table, given).groupby("seed")
    return interval(
        [float(np.polyfit(np.log2(one[along]), one[of].to_numpy(float), 1)[0]) for _, one in rows]
    )


def level(table: pd.DataFrame, *, of: str, given: Mapping[str, Any]) -> Interval:
    """A measured column, averaged over the rows of a seed."""
    rows = where(table, given).groupby("seed")[of]
    return interval([float(np.mean(one.to_numpy(float))) for _, one in rows])


def ratio(table: pd.DataFrame, *, of: str, to: str, given: Mapping[str, Any]) -> Interval:
    """The largest ratio of two measured columns among the rows of a seed."""
    rows = where(table, given)
    return interval([float((one[of] / one[to]).max()) for _, one in rows.groupby("seed")])


def level_gap(
    table: pd.DataFrame,
    *,
    of: str,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Interval:
    """A measured column of one kind of run minus that of another, paired by seed."""
    rows = where(table, given)
    sides = [where(rows, side).groupby("seed")[of].mean() for side in (first, second)]
    return interval(minus(*sides).to_numpy(float))


def spread(table: pd.DataFrame, *, of: str, given: Mapping[str, Any]) -> Interval:
    """The largest minus the smallest logarithm of a measured column among the rows of a seed."""
    rows = where(table, given).groupby("seed")[of]
    return interval([float(np.ptp(np.log(one.to_numpy(float)))) for _, one in rows])


def deeper(table: pd.DataFrame, *, given: Mapping[str, Any], along: str = "depth") -> Interval:
    """Log loss at a depth, or another size, minus that at the next smaller one, at the step where
    the interval reaches highest: below zero means that every step deeper helps. NaN where a
    size lacks a usable optimum."""
    losses = _usable(where(table, given)).pivot(index="seed", columns=along, values="log_loss")
    steps = losses.diff(axis=1).iloc[:, 1:]
    found = [interval(steps[size].tolist()) for size in steps]
    unknown = [one for one in found if math.isnan(one.value)]
    return unknown[0] if unknown else max(found, key=lambda one: one.high)


def ridge(table: pd.DataFrame, *, given: Mapping[str, Any]) -> Interval:
    """The slope of the ridge in the plane of rate (across) and multiplier (up): octaves of
    log2_gain per octave of the optimal rate, over the multipliers with a usable optimum, seed
    by seed; NaN with fewer than three. The rate is regressed on the multiplier, which is
    exact, and the slope inverted. Source: Tensor Programs VI, Figure 7."""
    return interval([_ridge(one) for _, one in where(table, given).groupby("seed")])


def ridge_gap(
    table: pd.DataFrame,
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Interval:
    """The slope of one ridge minus that of another, paired by seed."""
    return _gap(*_sides(table, None, first, second, given), _ridge)


def _ridge(rows: pd.DataFrame) -> float:
    rows = rows[~rows["flag"].isin(UNUSABLE)]
    if len(rows) < 3:
        return math.nan
    return float(1 / np.polyfit(rows["log2_gain"], rows["optimum"], 1)[0])


def tuned_gap(
    table: pd.DataFrame,
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
    along: str = "layers",
) -> Interval:
    """Best log loss over rates and multipliers of one kind of run minus that of another, at
    the size where the interval reaches highest: below zero means better at every size. Only
    usable optima count; NaN where a size has none on either side."""
    rows = _usable(where(table, given))
    best = [
        where(rows, side).groupby([along, "seed"])["log_loss"].min() for side in (first, second)
    ]
    found = [interval(one.to_numpy(float)) for _, one in minus(*best).groupby(along)]
    unknown = [one for one in found if math.isnan(one.value)]
    return unknown[0] if unknown else max(found, key=lambda one: one.high)


def _sides(
    table: pd.DataFrame,
    against: pd.DataFrame | None,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of one kind of run in a table, and those of another in `against`, or in the same."""
    other = table if against is None else against
    return where(where(table, given), first), where(where(other, given), second)


def _gap(
    first: pd.DataFrame, second: pd.DataFrame, statistic: Callable[[pd.DataFrame], float]
) -> Interval:
    """A number that each seed's rows give, of one kind of run minus that of another."""
    sides = [
        pd.Series({seed: statistic(one) for seed, one in rows.groupby("seed")})
        for rows in (first, second)
    ]
    return interval(minus(*sides).to_numpy(float))


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(log_loss=rows["log_loss"].mask(rows["flag"].isin(UNUSABLE)))


MEASURES: dict[str, Callable[..., Interval]] = {
    "slope": slope,
    "slope_gap": slope_gap,
    "mean_square_slope": mean_square_slope,
    "mean_regret": mean_regret,
    "regret_gap": regret_gap,
    "worst_gap": worst_gap,
    "worst_ratio": worst_ratio,
    "growth": growth,
    "growth_gap": growth_gap,
    "added_growth": added_growth,
    "trend": trend,
    "moved": moved,
    "choice_regret": choice_regret,
    "level": level,
    "ratio": ratio,
    "level_gap": level_gap,
    "spread": spread,
    "deeper": deeper,
    "ridge": ridge,
    "ridge_gap": ridge_gap,
    "tuned_gap": tuned_gap,
    "approach": approach,
    "bias": bias,
    "convergence": convergence,
    "share_below": share_below,
}
