"""What a fitted exponent owes to the fit: local slopes, weights, the depths and how they are
counted."""

from collections.abc import Iterable, Mapping
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


def local_slopes(best: pd.DataFrame) -> pd.DataFrame:
    """Octaves the optimum moves per doubling between each depth and the next, seed by seed:
    columns depth (their geometric mean), value, low, high; not finite where fewer than two seeds
    have a usable optimum at every depth. A power law has one at all depths. Source: section 8.5 of
    our notes on the effective-depth law."""
    optima, depths = _table(best)
    rows = []
    for i, step in enumerate(np.diff(np.log2(depths))):
        found = interval((optima[:, i + 1] - optima[:, i]) / step)
        middle = float(np.sqrt(depths[i] * depths[i + 1]))
        rows.append({"depth": middle, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def local_formula(depths: Iterable[float]) -> pd.DataFrame:
    """The local slopes of `finite_depth` on these depths: columns depth, value."""
    at = np.sort(np.asarray(list(depths), dtype=float))
    value = np.diff(np.log2(finite_depth(at))) / np.diff(np.log2(at))
    return pd.DataFrame({"depth": np.sqrt(at[1:] * at[:-1]), "value": value})


def fit(
    best: pd.DataFrame, *, weighted: bool = False, skip: int = 0, offset: float = 0
) -> Interval:
    """The exponent of the optimum in depth, seed by seed, by a straight line in logarithms:
    `weighted` by one over the variance over seeds at each depth (the effective-depth law was fitted
    by weighted least squares, with weights that we do not know); without the smallest `skip`
    depths; or of depth + offset, as where a stem is counted. Not finite where fewer than two seeds
    have a usable optimum at every depth."""
    optima, depths = _table(best)
    optima, depths = optima[:, skip:], depths[skip:]
    if len(optima) < 2:
        return interval([])
    scatter = optima.std(axis=0, ddof=1) if weighted else np.ones(len(depths))
    weights = 1 / np.maximum(scatter, LEAST)
    lines = np.polyfit(np.log2(depths + offset), optima.T, 1, w=weights)
    return interval(lines[0])


def fits(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The exponent of each table by each way of fitting: columns table, fit, value, low, high."""
    rows = []
    for label, best in tables.items():
        for name, options in FITS.items():
            found = fit(best, **options)
            ends = {"value": found.value, "low": found.low, "high": found.high}
            rows.append({"table": label, "fit": name, **ends})
    return pd.DataFrame(rows)


def _table(best: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Optima by seed (rows) and depth (columns), and the depths; seeds with a usable optimum at
    every depth."""
    usable = best.assign(optimum=best["optimum"].mask(best["flag"].isin(UNUSABLE)))
    found = usable.pivot(index="seed", columns="depth", values="optimum").dropna()
    return found.to_numpy(float), found.columns.to_numpy(float)
