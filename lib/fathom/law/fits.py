"""What a fitted exponent owes to the fit: local slopes, weights, the depths and how they are
counted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fathom.law.formula import finite_depth
from fathom.law.interval import UNUSABLE, Interval, interval

LEAST = 1e-9  # octaves: a scatter of zero has no weight
FITS: dict[str, Mapping[str, Any]] = {
    "least squares": {},
    "weighted": {"weighted": True},
    "without the shallowest": {"skip": 1},
    "depth + 1": {"offset": 1},
}


def local_slopes(best: pd.DataFrame, *, along: str = "depth") -> pd.DataFrame:
    """Octaves the optimum moves per doubling between each size and the next, seed by seed:
    columns along (their geometric mean), value, low, high; not finite where fewer than two seeds
    have a usable optimum at every size. A power law has one at all sizes. Source: section 8.5 of
    our notes on the effective-depth law."""
    optima, sizes = _table(best, along)
    rows = []
    for i, step in enumerate(np.diff(np.log2(sizes))):
        found = interval((optima[:, i + 1] - optima[:, i]) / step)
        middle = float(np.sqrt(sizes[i] * sizes[i + 1]))
        rows.append({along: middle, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def local_formula(depths: Iterable[float]) -> pd.DataFrame:
    """The local slopes of `finite_depth` on these depths: columns depth, value."""
    at = np.sort(np.asarray(list(depths), dtype=float))
    value = np.diff(np.log2(finite_depth(at))) / np.diff(np.log2(at))
    return pd.DataFrame({"depth": np.sqrt(at[1:] * at[:-1]), "value": value})


def fit(
    best: pd.DataFrame,
    *,
    along: str = "depth",
    weighted: bool = False,
    skip: int = 0,
    offset: float = 0,
) -> Interval:
    """The exponent of the optimum in a size, seed by seed, by a straight line in logarithms:
    `weighted` by one over the variance over seeds at each size, as Table 1 of the effective-depth
    law says it was fitted; without the smallest `skip` sizes; or of size + offset, as where a
    stem is counted. Not finite where fewer than two seeds have a usable optimum at every size."""
    optima, sizes = _table(best, along)
    optima, sizes = optima[:, skip:], sizes[skip:]
    if len(optima) < 2:
        return interval([])
    scatter = optima.std(axis=0, ddof=1) if weighted else np.ones(len(sizes))
    weights = 1 / np.maximum(scatter, LEAST)
    lines = np.polyfit(np.log2(sizes + offset), optima.T, 1, w=weights)
    return interval(lines[0])


def fits(tables: Mapping[str, pd.DataFrame], names: Sequence[str] = tuple(FITS)) -> pd.DataFrame:
    """The exponent of each table by each way of fitting: columns table, fit, value, low, high."""
    rows = []
    for label, best in tables.items():
        for name in names:
            found = fit(best, **FITS[name])
            ends = {"value": found.value, "low": found.low, "high": found.high}
            rows.append({"table": label, "fit": name, **ends})
    return pd.DataFrame(rows)


def _table(best: pd.DataFrame, along: str) -> tuple[np.ndarray, np.ndarray]:
    """Optima by seed (rows) and size (columns), and the sizes; seeds with a usable optimum at
    every size."""
    usable = best.assign(optimum=best["optimum"].mask(best["flag"].isin(UNUSABLE)))
    found = usable.pivot(index="seed", columns=along, values="optimum").dropna()
    return found.to_numpy(float), found.columns.to_numpy(float)
