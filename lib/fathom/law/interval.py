"""Intervals over seeds, and the rows they are computed on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A value, its 95 % interval, and the number of seeds behind them.

    Where a seed's statistic is infinite (a diverged run) the interval spans all seeds."""

    value: float
    low: float
    high: float
    seeds: int


def interval(samples: Sequence[float] | Array) -> Interval:
    """Mean and 95 % Student-t interval of one number per seed; not finite without two."""
    found = np.asarray(samples, dtype=float)
    if len(found) < 2 or np.isnan(found).any():
        return Interval(math.nan, -math.inf, math.inf, len(found))
    if not np.isfinite(found).all():
        return Interval(float(np.median(found)), float(found.min()), float(found.max()), len(found))
    half = stats.t.ppf(0.975, len(found) - 1) * stats.sem(found)
    mean = float(found.mean())
    return Interval(mean, mean - float(half), mean + float(half), len(found))


def together(tables: Mapping[str, pd.DataFrame], column: str) -> pd.DataFrame:
    """Tables one under the other, with a column that says which of them a row is from."""
    return pd.concat([one.assign(**{column: name}) for name, one in tables.items()])


def where(table: pd.DataFrame, given: Mapping[str, Any]) -> pd.DataFrame:
    """The rows whose columns have the given value, or one of a list of values."""
    for column, value in given.items():
        table = table[table[column].isin(value if isinstance(value, list) else [value])]
    if table.empty:
        raise LookupError(f"no row has {dict(given)}")
    return table
