"""What a claim may measure: each function takes a table and returns an Interval."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fathom.law.formula import finite_depth
from fathom.law.interval import Interval, interval, where

UNUSABLE = ("edge", "lost", "failed")


def slope(table: pd.DataFrame, *, along: str, given: Mapping[str, Any]) -> Interval:
    """Octaves the optimum moves per doubling of a size: the exponent of a power law.

    Least squares over the usable sizes, seed by seed; NaN with fewer than three sizes."""
    rows = where(table, given)
    return interval([_slope(one, along) for _, one in rows.groupby("seed")])


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


def regret_gap(
    table: pd.DataFrame, *, first: str, second: str, given: Mapping[str, Any]
) -> Interval:
    """Median regret of one prediction minus that of another, seed by seed; NaN where the grid
    of one of the cells does not reach a rate."""
    rows = where(table, given)
    sides = []
    for name in (first, second):
        regret = where(rows, {"prediction": name}).groupby("seed")["regret"]
        sides.append(pd.Series({seed: np.median(one.to_numpy(float)) for seed, one in regret}))
    return interval((sides[0] - sides[1]).to_numpy(float))


def worst_gap(
    table: pd.DataFrame,
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Interval:
    """Best log loss of one kind of run minus that of another, at the depth where it is
    largest: below zero means that the first is better at every depth. The depth is the one whose
    interval reaches highest. NaN where a depth lacks a usable optimum on either side."""
    rows, cell = where(table, given), ["depth", "seed"]
    rows = rows.assign(log_loss=rows["log_loss"].mask(rows["flag"].isin(UNUSABLE)))
    sides = [where(rows, side).set_index(cell)["log_loss"] for side in (first, second)]
    gap = (sides[0] - sides[1]).groupby("depth")
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


MEASURES: dict[str, Callable[..., Interval]] = {
    "slope": slope,
    "mean_regret": mean_regret,
    "regret_gap": regret_gap,
    "worst_gap": worst_gap,
    "worst_ratio": worst_ratio,
}
