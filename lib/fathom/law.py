"""Optima, how they move, and what it costs to assume that they do not.

Tables come in, tables and intervals go out. All rates are base-2 logarithms, all losses
natural logarithms. Every interval is Student's t over seeds, on a statistic computed seed
by seed (seeds are paired: one seed fixes weights and batches of every run that has it).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
UNUSABLE = ("edge", "failed")


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


def where(table: pd.DataFrame, given: Mapping[str, Any]) -> pd.DataFrame:
    """The rows whose columns have the given value, or one of a list of values."""
    for column, value in given.items():
        table = table[table[column].isin(value if isinstance(value, list) else [value])]
    if table.empty:
        raise LookupError(f"no row has {dict(given)}")
    return table


def optima(runs: pd.DataFrame, by: Sequence[str], metric: str = "loss_mean") -> pd.DataFrame:
    """The best rate of every cell (a choice of the columns `by`) and seed.

    Columns: by, seed, optimum (a parabola in log loss through the best rate and its
    neighbours), log_loss there, flag. Flags: cliff, a neighbour diverged and the optimum
    is the grid point, good to half a step; edge, the best rate is one of the outer two on
    either side of the grid, and a claim may not use it; failed, no run survived.
    """
    rows = []
    for cell, group in runs.groupby([*by, "seed"], sort=True):
        rate, loss = _curve(group, metric)
        best, log_loss, flag = _optimum(rate, loss)
        named = dict(zip([*by, "seed"], _as_tuple(cell), strict=True))
        rows.append({**named, "optimum": best, "log_loss": log_loss, "flag": flag})
    return pd.DataFrame(rows)


def _as_tuple(cell: Hashable) -> tuple[Hashable, ...]:
    return cell if isinstance(cell, tuple) else (cell,)


def _curve(group: pd.DataFrame, metric: str) -> tuple[Array, Array]:
    """Rates in order and the log losses at them; one run at every rate, or it is no curve."""
    group = group.sort_values("log2_lr")
    rate = group["log2_lr"].to_numpy(float)
    if (np.diff(rate) <= 0).any():
        raise LookupError("a cell has two runs at one rate: name another column in by")
    with np.errstate(divide="ignore"):
        return rate, np.log(group[metric].to_numpy(float))


def _optimum(rate: Array, loss: Array) -> tuple[float, float, str]:
    if not np.isfinite(loss).any():
        return math.nan, math.inf, "failed"
    i, last = int(np.argmin(loss)), len(loss) - 1
    inner = 0 < i < last
    cliff = inner and not np.isfinite(loss[i - 1 : i + 2]).all()
    edge = i < 2 or (i > last - 2 and not cliff)
    flag = "edge" if edge else "cliff" if cliff else ""
    if not inner or cliff:
        return float(rate[i]), float(loss[i]), flag
    a, b, c = np.polyfit(rate[i - 1 : i + 2] - rate[i], loss[i - 1 : i + 2], 2)
    if a <= 0:
        return float(rate[i]), float(loss[i]), flag
    return float(rate[i] - b / (2 * a)), float(c - b * b / (4 * a)), flag


def loss_at(rate: Array, loss: Array, wanted: float) -> float:
    """Log loss at a rate between grid points: the parabola through the three nearest, inf
    where one of the two around it diverged, NaN outside the grid."""
    if not rate[0] <= wanted <= rate[-1]:
        return math.nan
    right = int(np.clip(np.searchsorted(rate, wanted), 1, len(rate) - 1))
    if not np.isfinite(loss[right - 1 : right + 1]).all():
        return math.inf
    i = int(np.clip(np.abs(rate - wanted).argmin(), 1, len(rate) - 2))
    if not np.isfinite(loss[i - 1 : i + 2]).all():
        return float(np.interp(wanted, rate, loss))
    return float(np.polyval(np.polyfit(rate[i - 1 : i + 2], loss[i - 1 : i + 2], 2), wanted))


def bands(runs: pd.DataFrame, by: Sequence[str], metric: str = "loss_mean") -> pd.DataFrame:
    """Curves for drawing: mean log loss over seeds at every rate of every cell, with the
    5-95 % bootstrap of that mean (fixed resamples); inf where a seed diverged.

    Columns: by, log2_lr, log_loss, low, high."""
    draws = np.random.default_rng(2602_07494)
    rows = []
    for cell, group in runs.groupby([*by, "log2_lr"], sort=True):
        with np.errstate(divide="ignore"):
            loss = np.log(group.sort_values("seed")[metric].to_numpy(float))
        resampled = loss[draws.integers(0, len(loss), (1000, len(loss)))].mean(axis=1)
        finite = bool(np.isfinite(loss).all())
        low, high = np.quantile(resampled, [0.05, 0.95]) if finite else (math.inf, math.inf)
        named = dict(zip([*by, "log2_lr"], _as_tuple(cell), strict=True))
        rows.append({**named, "log_loss": loss.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)


def summary(best: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Optima over seeds: one row per cell with the mean optimum and its 95 % interval, the
    mean log loss there and its interval, and the worst flag of any seed."""
    order = {"": 0, "cliff": 1, "edge": 2, "failed": 3}
    rows = []
    for cell, group in best.groupby([*by], sort=True):
        rate, loss = (
            interval(group["optimum"].to_numpy(float)),
            interval(group["log_loss"].to_numpy(float)),
        )
        named = dict(zip(by, _as_tuple(cell), strict=True))
        named |= {"optimum": rate.value, "low": rate.low, "high": rate.high}
        named |= {"log_loss": loss.value, "loss_low": loss.low, "loss_high": loss.high}
        rows.append({**named, "flag": max(group["flag"].fillna(""), key=lambda word: order[word])})
    return pd.DataFrame(rows)


def finite_depth(depth: Any, *, kappa: float = 2.0, constant: float = 1.0) -> Any:
    """The one-step maximal-update rate of a plain chain, at every depth and not only far out:

        eta = (constant [ (L+1)(2L+1)/6 + kappa L(L^2-1)/12 ])^(-1/2)  ->  L^(-3/2).

    kappa = E phi'^4 / (E phi'^2)^2 (ReLU 2); constant sets the scale. Source: derivation of
    the law of arXiv 2602.07494 carried out at finite depth (equation FD)."""
    L = np.asarray(depth, dtype=float)
    bracket = (L + 1) * (2 * L + 1) / 6 + kappa * L * (L**2 - 1) / 12
    return (constant * bracket) ** -0.5


def formula(depths: Iterable[float], *, kappa: float, constant: float) -> pd.DataFrame:
    """log2 of `finite_depth` at each depth, and the line of exponent -3/2 that meets it at
    the last: columns depth, finite_depth, three_halves."""
    L = np.sort(np.asarray(list(depths), dtype=float))
    rate = np.log2(finite_depth(L, kappa=kappa, constant=constant))
    line = rate[-1] - 1.5 * np.log2(L / L[-1])
    return pd.DataFrame({"depth": L, "finite_depth": rate, "three_halves": line})


def formula_exponent(depths: Iterable[float], *, kappa: float) -> Interval:
    """The slope that a least-squares line through `finite_depth` has on these depths: what a
    fit of a pure power law would find if the formula were exact (no interval: no noise)."""
    at = np.asarray(list(depths), dtype=float)
    value = float(np.polyfit(np.log2(at), np.log2(finite_depth(at, kappa=kappa)), 1)[0])
    return Interval(value, value, value, 0)


def chain_constant(init_gain: float, input_square: float, readout: float = 1.0) -> float:
    """The constant of `finite_depth` for a chain with weights of variance init_gain / n that
    keep E z^2, inputs of mean square `input_square`, read-out variance readout / n^2, squared
    error and a target of variance 1. Each layer's update carries the mean square of what it
    reads; half of it for ReLU passes to the gradient's square: q^2 readout / init_gain."""
    return input_square**2 * readout / init_gain


PREDICTIONS: dict[str, Callable[[float, float], float]] = {
    "constant": lambda depth, anchor: 0.0,
    "inverse": lambda depth, anchor: -math.log2(depth / anchor),
    "three_halves": lambda depth, anchor: -1.5 * math.log2(depth / anchor),
    "finite_depth": lambda depth, anchor: math.log2(finite_depth(depth) / finite_depth(anchor)),
}


def transfer(
    runs: pd.DataFrame,
    by: Sequence[str],
    anchor: Mapping[str, Any],
    predictions: Sequence[str] = ("constant",),
    metric: str = "loss_mean",
) -> pd.DataFrame:
    """What it costs to take the rate from another size: tuned at the anchor (its mean
    optimum over seeds), carried to every cell by each prediction.

    Columns: by, seed, prediction, log2_lr (the rate taken over), regret (log loss there
    minus the cell's best log loss; inf where it diverges, NaN where it lies outside the grid).
    """
    best = optima(runs, by, metric)
    curves = {_as_tuple(cell): group for cell, group in runs.groupby([*by, "seed"])}
    rest = [name for name in by if name not in anchor]
    tuned: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in where(best, anchor).to_dict("records"):
        tuned[tuple(row[name] for name in rest)].append(row["optimum"])
    rows = []
    for row in best.to_dict("records"):
        cell = {name: row[name] for name in [*by, "seed"]}
        rate, loss = _curve(curves[tuple(cell.values())], metric)
        start = float(np.mean(tuned.get(tuple(row[name] for name in rest), [math.nan])))
        for name in predictions:
            wanted = start + PREDICTIONS[name](float(row["depth"]), float(anchor["depth"]))
            regret = loss_at(rate, loss, wanted) - row["log_loss"]
            rows.append({**cell, "prediction": name, "log2_lr": wanted, "regret": regret})
    return pd.DataFrame(rows)


def one_step_optima(
    steps: pd.DataFrame, by: Sequence[str], metric: str = "update_mean"
) -> pd.DataFrame:
    """The rate at which one step moves the units by one, from measurements at rate 1: a
    table like that of `optima`, with optimum = -log2(movement) / 2 and no loss."""
    table = steps[[*by, "seed"]].copy()
    table["optimum"] = -np.log2(steps[metric]) / 2
    return table.assign(log_loss=math.nan, flag="")


DERIVED: dict[str, Callable[..., pd.DataFrame]] = {
    "optima": optima,
    "transfer": transfer,
    "one_step": one_step_optima,
}


# What a claim may name. Each takes a table and returns an Interval.


def slope(table: pd.DataFrame, *, along: str, given: Mapping[str, Any]) -> Interval:
    """Octaves the optimum moves per doubling of a size: the exponent of a power law.

    Least squares over the usable sizes, seed by seed; NaN with fewer than three sizes."""
    rows = where(table, given)
    rows = rows[~rows["flag"].isin(UNUSABLE)]
    return interval([_slope(one, along) for _, one in rows.groupby("seed")])


def slopes(best: pd.DataFrame, by: str, *, along: str) -> dict[str, Interval]:
    """`slope` for every value of a column."""
    return {str(name): slope(rows, along=along, given={}) for name, rows in best.groupby(by)}


def _slope(rows: pd.DataFrame, along: str) -> float:
    sizes = rows[along].to_numpy(float)
    if len(np.unique(sizes)) < 3:
        return math.nan
    return float(np.polyfit(np.log2(sizes), rows["optimum"].to_numpy(float), 1)[0])


def mean_regret(table: pd.DataFrame, *, given: Mapping[str, Any]) -> Interval:
    """The regret of a transferred rate, averaged over cells, seed by seed."""
    return interval(where(table, given).groupby("seed")["regret"].mean().to_numpy(float))


def regret_gap(
    table: pd.DataFrame, *, first: str, second: str, given: Mapping[str, Any]
) -> Interval:
    """Median regret of one prediction minus that of another, seed by seed."""
    rows = where(table, given).groupby(["prediction", "seed"])["regret"].median()
    return interval((rows[first] - rows[second]).to_numpy(float))


def worst_gap(
    table: pd.DataFrame,
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Interval:
    """Best log loss of one kind of run minus that of another, at the depth where it is
    largest: below zero means that the first is better at every depth."""
    rows, cell = where(table, given), ["depth", "seed"]
    sides = [where(rows, side).set_index(cell)["log_loss"] for side in (first, second)]
    gap = (sides[0] - sides[1]).dropna().groupby("depth")
    return max((interval(one.to_numpy(float)) for _, one in gap), key=lambda found: found.value)


def worst_ratio(
    table: pd.DataFrame, *, kappa: float, constant: float, given: Mapping[str, Any]
) -> Interval:
    """The measured rate over the finite-depth formula's, at the depth where it is farthest
    from one (the geometric mean over seeds)."""
    rows = where(table, given)
    off = rows["optimum"] - np.log2(finite_depth(rows["depth"], kappa=kappa, constant=constant))
    found = [interval(one.to_numpy(float)) for _, one in off.groupby(rows["depth"])]
    log2 = max(found, key=lambda one: abs(one.value))
    return Interval(2**log2.value, 2**log2.low, 2**log2.high, log2.seeds)


MEASURES: dict[str, Callable[..., Interval]] = {
    "slope": slope,
    "mean_regret": mean_regret,
    "regret_gap": regret_gap,
    "worst_gap": worst_gap,
    "worst_ratio": worst_ratio,
}
