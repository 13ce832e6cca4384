"""How networks approach a limit, of infinite width or of infinite depth.

A limit is a table with the columns of the networks it is the limit of, all but the width; a
network is compared with the limit of its own seed, which has seen the same examples.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fathom.law.interval import Interval, interval, where

PREDICTED = ("rms_", "correlation")


def departures(
    table: pd.DataFrame, limit: pd.DataFrame, *, of: Sequence[str], relative: bool = True
) -> pd.DataFrame:
    """Networks with the columns `of` replaced by what they exceed their limit's by, as a share
    of it or not, and `off`, the mean over `of` of its absolute value. Raises LookupError where
    a network has no limit."""
    shared = [name for name in limit if name in table and not str(name).startswith(PREDICTED)]
    both = table.merge(limit, on=shared, suffixes=("", "_limit"), validate="many_to_one")
    if len(both) < len(table):
        raise LookupError(f"{len(table) - len(both)} networks have no row in the table of limits")
    found, known = both[[*of]].to_numpy(float), both[[f"{name}_limit" for name in of]].to_numpy()
    gaps = (found - known) / (known if relative else 1)
    parts = pd.DataFrame(gaps, columns=pd.Index(of)).assign(off=np.abs(gaps).mean(axis=1))
    return both[[name for name in table if name not in parts]].join(parts)


def proxy(networks: pd.DataFrame, of: Sequence[str]) -> pd.DataFrame:
    """Large networks that stand for a limit: the columns `of` averaged over seeds, as a table of
    limits, by rate and steps. Source: Depthwise transfer, Fig. 5(b)."""
    mean = networks.groupby(["log2_lr", "steps"])[[*of]].mean()
    return mean.add_suffix("_limit").reset_index()


def approach(
    table: pd.DataFrame,
    limit: pd.DataFrame | None = None,
    *,
    of: Sequence[str],
    given: Mapping[str, Any],
    relative: bool = True,
    along: str = "width",
    large: Mapping[str, Any] | None = None,
) -> Interval:
    """The exponent in a size of the mean absolute departure from the limit, seed by seed; without
    a limit from the mean of the `large` networks of the same table."""
    known = proxy(where(table, large or {}), of) if limit is None else limit
    rows = departures(where(table, given), known, of=of, relative=relative)
    return interval([_exponent(one.groupby(along)["off"].mean()) for _, one in _seeds(rows)])


def bias(
    table: pd.DataFrame,
    limit: pd.DataFrame,
    *,
    of: Sequence[str],
    given: Mapping[str, Any],
    limits: Mapping[str, Any] | None = None,
) -> Interval:
    """The mean relative departure from the limit, sign kept, seed by seed; of several limits
    of the same networks, that which has the values of `limits`."""
    rows = departures(where(table, given), where(limit, limits or {}), of=of)
    return interval([float(one[[*of]].to_numpy().mean()) for _, one in _seeds(rows)])


def convergence(
    table: pd.DataFrame, *, of: Sequence[str], given: Mapping[str, Any], along: str = "depth"
) -> Interval:
    """The exponent in a size of the mean absolute relative change of columns since the next
    smaller size, seed by seed. Where nothing but the examples is drawn, the interval is over
    sequences of examples."""
    rows = changes(where(table, given), ["seed", "steps"], of=of, along=along)
    return interval([_exponent(one.groupby(along)["off"].mean()) for _, one in _seeds(rows)])


def changes(
    table: pd.DataFrame, by: Sequence[str], *, of: Sequence[str], along: str = "depth"
) -> pd.DataFrame:
    """How much columns change from each size to the next larger one, as a share: columns by,
    along (the larger size) and `off`, the mean over `of` of the absolute value."""
    rows = table.sort_values(along)
    off = rows.groupby([*by])[[*of]].pct_change().abs().mean(axis=1)
    found = rows[[*by, along]].assign(off=off)
    return found[found["off"].notna()]


def share_below(
    table: pd.DataFrame, *, of: str, below: float, given: Mapping[str, Any]
) -> Interval:
    """The share of rows with a column below a level, seed by seed."""
    return interval([float((one[of] < below).mean()) for _, one in _seeds(where(table, given))])


def beside(
    table: pd.DataFrame, limit: pd.DataFrame, by: Sequence[str], *, of: Sequence[str]
) -> pd.DataFrame:
    """The columns `of` of networks beside their limits, for drawing: columns by, site (which
    of `of`), limit (its mean over all of the limit's seeds), value, low, high: the limit plus
    the mean departure from it, with the interval of that."""
    rows = departures(table, limit, of=of, relative=False)
    along = [name for name in by if name in limit]
    found = []
    for cell, group in rows.groupby([*by], sort=True):
        named = dict(zip(by, cell, strict=True))
        known = where(limit, {name: named[name] for name in along})
        for site in of:
            gap, mean = interval(group[site].to_numpy(float)), float(known[site].mean())
            ends = {"value": mean + gap.value, "low": mean + gap.low, "high": mean + gap.high}
            found.append({**named, "site": site, "limit": mean, **ends})
    return pd.DataFrame(found)


def _seeds(rows: pd.DataFrame) -> Any:
    return rows.groupby("seed")


def _exponent(line: pd.Series) -> float:
    """The slope of a column over its index, both in logarithms; NaN of a single size."""
    sizes = np.asarray(line.index, dtype=float)
    if len(sizes) < 2:
        return math.nan
    return float(np.polyfit(np.log2(sizes), np.log2(line.to_numpy(float)), 1)[0])
