"""Settings other than the rate: where their best value lies at two sizes, and what the best of one
size costs at the other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fathom.law.interval import UNUSABLE, Interval, interval, minus, where


def choices(runs: pd.DataFrame, among: Sequence[str], metric: str) -> pd.DataFrame:
    """Log losses of one size: a row per choice (values of the columns `among`), a column per seed.
    Raises LookupError where a choice has two runs of one seed, or lacks a seed of another's."""
    table = runs.pivot_table(
        index=[*among], columns="seed", values=metric, aggfunc=["size", "first"], dropna=False
    )
    if (table["size"].to_numpy() != 1).any():
        raise LookupError(
            f"a choice of {', '.join(among)} has not one run of every seed: name in `given` what "
            "tells two apart, or train what is missing"
        )
    found = table["first"]
    return pd.DataFrame(np.log(found.to_numpy(float)), found.index, found.columns)


def choice_regret(
    table: pd.DataFrame,
    *,
    among: Sequence[str],
    anchor: Mapping[str, Any],
    at: Mapping[str, Any],
    given: Mapping[str, Any],
    metric: str = "loss_mean",
) -> Interval:
    """What it costs at one size (`at`) to take the choice that is best at another (`anchor`, by the
    mean over seeds): the log loss there minus that of the best choice of its own, seed by seed;
    infinite where it diverges. The best of its own is chosen seed by seed, so that noise adds to
    the regret and never takes from it."""
    rows = where(table, given)
    small, large = (choices(where(rows, side), among, metric) for side in (anchor, at))
    large = large.reindex(small.index).to_numpy(float)
    chosen, own = int(small.mean(axis=1).to_numpy(float).argmin()), large.min(axis=0)
    return interval(large[chosen] - np.where(np.isfinite(own), own, math.nan))


def moved(
    table: pd.DataFrame,
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Interval:
    """The optimum of one kind of run minus that of another, in octaves of what was swept, paired by
    seed; NaN where one of them is not usable."""
    rows = where(table, given)
    rows = rows.assign(optimum=rows["optimum"].mask(rows["flag"].isin(UNUSABLE)))
    sides = [where(rows, side).set_index("seed")["optimum"] for side in (first, second)]
    return interval(minus(*sides).to_numpy(float))
