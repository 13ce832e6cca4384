"""Intervals over seeds, and the rows they are computed on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes a second to load

Array = NDArray[np.float64]
UNUSABLE = ("edge", "lost", "failed")  # flags of optima that no claim uses
UPPER = 0.975  # quantile: with the lower one as far down, 95 % lie between


class Interval(NamedTuple):
    """A value, its 95 % interval, the number of seeds behind them, and one number per seed where
    the interval is that of their mean, in the order of the seeds.

    Where a seed's statistic is infinite (a diverged run) the interval spans all seeds."""

    value: float
    low: float
    high: float
    seeds: int
    samples: tuple[float, ...] = ()

    def row(self) -> dict[str, float]:
        """Everything but the samples, for a row of a table."""
        return {name: value for name, value in self._asdict().items() if name != "samples"}


def interval(samples: Sequence[float] | Array) -> Interval:
    """Mean and 95 % Student-t interval of one number per seed; not finite without two."""
    found = np.asarray(samples, dtype=float)
    own = tuple(found.tolist())
    if len(found) < 2 or np.isnan(found).any():
        return Interval(math.nan, -math.inf, math.inf, len(found), own)
    if not np.isfinite(found).all():
        ends = float(np.median(found)), float(found.min()), float(found.max())
        return Interval(*ends, len(found), own)
    half = stdtrit(len(found) - 1, UPPER) * found.std(ddof=1) / math.sqrt(len(found))
    mean = float(found.mean())
    return Interval(mean, mean - float(half), mean + float(half), len(found), own)


def two_stage(found: Interval, first: int) -> Interval:
    """The interval of a mean whose number of seeds the first `first` of them decided: the mean of
    all, the variance and the degrees of freedom of the first stage, so that coverage is exact for
    normal numbers however many seeds that variance asked for.

    Unchanged where there are no more seeds, or one of the numbers is not finite. Raises
    LookupError where the interval is not that of one mean over seeds. Source: Stein (1945)."""
    own = np.asarray(found.samples)
    if len(own) == 0:
        raise LookupError("first_stage goes only with a measure that is a mean over seeds")
    if len(own) <= first or not np.isfinite(own).all():
        return found
    scale = own[:first].std(ddof=1) / math.sqrt(len(own))
    half = float(stdtrit(first - 1, UPPER) * scale)
    mean = float(own.mean())
    return Interval(mean, mean - half, mean + half, len(own), found.samples)


def seeds_for(found: Interval, half_width: float) -> float:
    """How many seeds bring an interval to a half-width fixed beforehand, by the variance that the
    interval rests on; NaN where it is not finite. Source: Stein (1945)."""
    half = (found.high - found.low) / 2
    if not (math.isfinite(half) and half_width > 0):
        return math.nan
    asked = found.seeds * (half / half_width) ** 2
    return max(found.seeds, math.ceil(asked - 1e-9))  # a whole number but for rounding


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


def minus(first: pd.Series, second: pd.Series) -> pd.Series:
    """One series minus another where both have a row: seeds that only one side was trained with
    do not count."""
    both = first.align(second, join="inner")
    return both[0] - both[1]
