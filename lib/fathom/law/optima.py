"""Optima of learning-rate sweeps, cell by cell and seed by seed, and what transfer costs."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fathom.law.formula import PREDICTIONS
from fathom.law.interval import Array, interval, where


def optima(
    runs: pd.DataFrame,
    by: Sequence[str],
    metric: str = "loss_mean",
    chance: float = math.inf,
    over: str = "log2_lr",
) -> pd.DataFrame:
    """The best rate of every cell (a choice of the columns `by`) and seed, or the best of
    another column that was swept (`over`).

    Columns: by, seed, optimum (a parabola in log loss through the best rate and its
    neighbours), log_loss there, flag. Flags: cliff, a neighbour diverged and the optimum
    is the grid point, good to half a step; edge, the best rate is one of the outer two on
    either side of the grid; lost, the best loss is no better than `chance`, that of a
    network which has learned nothing; failed, no run survived. A claim may not use the last
    three.
    """
    rows = []
    for cell, group in cells(sized(runs), [*by, "seed"]):
        rate, loss = _curve(group, metric, over)
        best, log_loss, flag = _optimum(rate, loss)
        flag = "lost" if math.log(chance) <= log_loss < math.inf else flag
        named = dict(zip([*by, "seed"], as_tuple(cell), strict=True))
        rows.append({**named, "optimum": best, "log_loss": log_loss, "flag": flag})
    return pd.DataFrame(rows)


def sized(runs: pd.DataFrame) -> pd.DataFrame:
    """The table with what can be counted from its columns: layers, the matrices of all
    blocks; log2_gain, log2_gamma_0, log2_decay (-inf without decay), log2_batch; log2_memory,
    of the steps 1 / (1 - momentum) that a momentum adds up. Those whose column a table lacks
    are left out."""
    there = [name for name in ("gain", "gamma_0", "decay", "batch") if name in runs]
    with np.errstate(divide="ignore"):
        more = {f"log2_{name}": np.log2(runs[name].astype(float)).round(4) for name in there}
    if "momentum" in runs:
        more["log2_memory"] = -np.log2(1 - runs["momentum"]).round(4)
    return runs.assign(layers=runs["depth"] * runs["block_depth"], **more)


def tilted(table: pd.DataFrame, columns: Sequence[str], exponent: float) -> pd.DataFrame:
    """The table with rates on another axis: columns of base-2 logarithms, times depth to an
    exponent. What lies upright on one axis leans by that much per doubling on the other."""
    more = exponent * np.log2(table["depth"].astype(float))
    return table.assign(**{name: table[name] + more for name in columns})


def cells(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[Hashable, pd.DataFrame]]:
    """The groups of a table by some columns, in order. Raises LookupError for a column that the
    table lacks, or that is empty in a row, which would then be in no group."""
    for name in by:
        if name not in table:
            raise LookupError(
                f"the table has no column {name}, as all of its runs are at the default of that; "
                "leave it out of by"
            )
        if table[name].isna().any():
            raise LookupError(
                f"column {name} is empty in some rows of the table, those of runs without it; "
                "leave it out of by, or make two tables"
            )
    return iter(table.groupby([*by], sort=True))


def as_tuple(cell: Hashable) -> tuple[Hashable, ...]:
    """The values that name a group of a table, one column or several alike."""
    return cell if isinstance(cell, tuple) else (cell,)


def _curve(group: pd.DataFrame, metric: str, over: str = "log2_lr") -> tuple[Array, Array]:
    """Rates in order and the log losses at them; one run at every rate, or it is no curve."""
    group = group.sort_values(over)
    rate = group[over].to_numpy(float)
    if (np.diff(rate) <= 0).any():
        raise LookupError(
            "two runs of one cell have the same rate: add the column that tells them apart to by"
        )
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


def viable(
    runs: pd.DataFrame, by: Sequence[str], within: float, metric: str = "loss_mean"
) -> pd.DataFrame:
    """The largest rate of every cell and seed at which the log loss is at most `within` above
    the cell's best, between grid points by a straight line.

    A table like that of `optima`, with that rate as the optimum. Flags: cliff, the next rate
    diverged, and the rate is the last that did not; edge, the grid ends before the loss has
    risen so far; failed, no run survived. Source: Tensor Programs VI, Figure 16."""
    rows = []
    for cell, group in cells(runs, [*by, "seed"]):
        rate, loss = _curve(group, metric)
        found = _viable(rate, loss, within)
        named = dict(zip([*by, "seed"], as_tuple(cell), strict=True))
        rows.append({**named, **dict(zip(("optimum", "log_loss", "flag"), found, strict=True))})
    return pd.DataFrame(rows)


def _viable(rate: Array, loss: Array, within: float) -> tuple[float, float, str]:
    if not np.isfinite(loss).any():
        return math.nan, math.inf, "failed"
    best, bound = int(np.argmin(loss)), float(loss.min()) + within
    above = np.flatnonzero(loss[best:] > bound)
    if not len(above):
        return float(rate[-1]), float(loss[-1]), "edge"
    i = best + int(above[0])
    if not np.isfinite(loss[i]):
        return float(rate[i - 1]), float(loss[i - 1]), "cliff"
    share = (bound - loss[i - 1]) / (loss[i] - loss[i - 1])
    return float(rate[i - 1] + share * (rate[i] - rate[i - 1])), bound, ""


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


def bands(
    runs: pd.DataFrame,
    by: Sequence[str],
    metric: str = "loss_mean",
    over: str = "log2_lr",
) -> pd.DataFrame:
    """Curves for drawing: mean log loss over seeds at every rate (or what else was swept,
    `over`) of every cell, with the 5-95 % bootstrap of that mean (fixed resamples); inf where a
    seed diverged.

    Columns: by, over, log_loss, low, high."""
    draws = np.random.default_rng(2602_07494)
    rows = []
    for cell, group in cells(runs, [*by, over]):
        with np.errstate(divide="ignore"):
            loss = np.log(group.sort_values("seed")[metric].to_numpy(float))
        resampled = loss[draws.integers(0, len(loss), (1000, len(loss)))].mean(axis=1)
        finite = bool(np.isfinite(loss).all())
        low, high = np.quantile(resampled, [0.05, 0.95]) if finite else (math.inf, math.inf)
        named = dict(zip([*by, over], as_tuple(cell), strict=True))
        rows.append({**named, "log_loss": loss.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)


def summary(best: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Optima over seeds: one row per cell with the mean optimum and its 95 % interval, the
    mean log loss there and its interval, and the worst flag of any seed."""
    order = {"": 0, "cliff": 1, "edge": 2, "lost": 3, "failed": 4}
    rows = []
    for cell, group in best.groupby([*by], sort=True):
        rate, loss = (
            interval(group["optimum"].to_numpy(float)),
            interval(group["log_loss"].to_numpy(float)),
        )
        named = dict(zip(by, as_tuple(cell), strict=True))
        named |= {"optimum": rate.value, "low": rate.low, "high": rate.high}
        named |= {"log_loss": loss.value, "loss_low": loss.low, "loss_high": loss.high}
        rows.append({**named, "flag": max(group["flag"].fillna(""), key=lambda word: order[word])})
    return pd.DataFrame(rows)


def lowest(curves: pd.DataFrame, over: str = "log2_lr") -> pd.DataFrame:
    """Optima of curves, a row per depth: the point marked lowest, as of those read off a paper's
    figure, else the one of least log loss; flagged edge where it is the first or the last of its
    curve."""
    if "lowest" not in curves:
        floor = curves.groupby("depth")["log_loss"].transform("min")
        curves = curves.assign(lowest=curves["log_loss"] == floor)
    ends = curves.groupby("depth")[over].agg(["min", "max"])
    best = curves[curves["lowest"]].rename(columns={over: "optimum"})
    place = best["depth"].map(ends["min"]), best["depth"].map(ends["max"])
    edge = (best["optimum"] == place[0]) | (best["optimum"] == place[1])
    return best.assign(flag=edge.map({True: "edge", False: ""}))


def transfer(
    runs: pd.DataFrame,
    by: Sequence[str],
    anchor: Mapping[str, Any],
    predictions: Sequence[str] = ("constant",),
    metric: str = "loss_mean",
    over: str = "log2_lr",
) -> pd.DataFrame:
    """What it costs to take the rate (or what else was swept, `over`) from another size: tuned
    at the anchor (its mean optimum over seeds), carried to every cell by each prediction; fitted
    is the power law through the mean optima of the depths up to the anchor's, at least three.

    Columns: by, seed, prediction, `over` (the value taken over), missed (octaves between it and
    the cell's own optimum), regret (log loss there minus the cell's best log loss; inf where it
    diverges, NaN where it lies outside the grid).
    """
    runs, best = sized(runs), optima(runs, by, metric, over=over)
    curves = {as_tuple(cell): group for cell, group in runs.groupby([*by, "seed"])}
    rest = [name for name in by if name not in anchor]
    tuned: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in where(best, anchor).to_dict("records"):
        tuned[tuple(row[name] for name in rest)].append(row["optimum"])
    own = _fitted(best, rest, anchor) if "fitted" in predictions else {}
    rows = []
    for row in best.to_dict("records"):
        cell = {name: row[name] for name in [*by, "seed"]}
        rate, loss = _curve(curves[tuple(cell.values())], metric, over)
        kind = tuple(row[name] for name in rest)
        start, depths = float(np.mean(tuned.get(kind, [math.nan]))), (row["depth"], anchor["depth"])
        for name in predictions:
            octaves = math.log2(depths[0] / depths[1])
            more = own[kind] * octaves if name == "fitted" else PREDICTIONS[name](*depths)
            wanted = start + more
            regret = loss_at(rate, loss, wanted) - row["log_loss"]
            missed = wanted - row["optimum"]
            rows.append(
                {**cell, "prediction": name, over: wanted, "missed": missed, "regret": regret}
            )
    return pd.DataFrame(rows)


def common(
    runs: pd.DataFrame, by: Sequence[str], anchor: Mapping[str, Any], metric: str = "loss_mean"
) -> pd.DataFrame:
    """What every cell and seed reaches at one common rate, the anchor's mean optimum over seeds.

    A table like that of `optima`, with that rate as the optimum and the log loss at it. Flags:
    edge, the cell's grid does not reach it; failed, a run beside it diverged. Source: Depthwise
    transfer, claim C7 of our notes."""
    cell = [*by, "seed"]
    best = optima(runs, by, metric).set_index(cell)["log_loss"]
    found = transfer(runs, by, anchor, metric=metric).set_index(cell)
    loss = found["regret"] + best
    flag = np.where(loss.isna(), "edge", np.where(loss < math.inf, "", "failed"))
    table = pd.DataFrame({"optimum": found["log2_lr"], "log_loss": loss, "flag": flag})
    return table.reset_index()


def _fitted(
    best: pd.DataFrame, rest: Sequence[str], anchor: Mapping[str, Any]
) -> dict[tuple[Any, ...], float]:
    """The exponent of the mean optima at depths up to the anchor's, for each kind of network; NaN
    with fewer than three depths."""
    found: dict[tuple[Any, ...], float] = {}
    groups = best.groupby([*rest]) if rest else [((), best)]
    for kind, group in groups:
        other = {name: value for name, value in anchor.items() if name != "depth"}
        mean = where(group, other).groupby("depth")["optimum"].mean().loc[: anchor["depth"]]
        exponent = math.nan
        if len(mean) >= 3:
            exponent = float(np.polyfit(np.log2(mean.index.to_numpy(float)), mean, 1)[0])
        found[as_tuple(kind)] = exponent
    return found


def one_step_optima(
    steps: pd.DataFrame, by: Sequence[str], metric: str = "update_mean"
) -> pd.DataFrame:
    """The rate at which one step moves the units by one, from measurements at rate 1: a
    table like that of `optima`, with optimum = -log2(movement) / 2 and no loss."""
    cells(steps, [*by, "seed"])
    table = steps[[*by, "seed"]].copy()
    table["optimum"] = -np.log2(steps[metric]) / 2
    return table.assign(log_loss=math.nan, flag="")
