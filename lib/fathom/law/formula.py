"""The maximal-update rate of a chain at finite depth, and rules that carry a rate deeper."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fathom.law.interval import Array, Interval, interval, where


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
    "all_paths": lambda depth, anchor: (_log2_paths(anchor) - _log2_paths(depth)) / 2,
}


def _log2_paths(depth: float) -> float:
    """log2 of the sum over all paths of a residual network of their length cubed, the sum over k
    of binomial(depth, k) k^3 = depth^2 (depth + 3) 2^(depth - 3). Source: Chen et al. 2024, Eq. 8;
    the form n (n + 1) (n + 2) 2^(n - 3) in public programs is not this sum."""
    return 2 * math.log2(depth) + math.log2(depth + 3) + depth - 3


def carried(best: pd.DataFrame, predictions: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The mean optimum at the shallowest depth (a table as `summary` makes it), carried to every
    other by each rule: a table with columns depth and value for each."""
    best = best.sort_values("depth")
    first, start = float(best["depth"].iloc[0]), float(best["optimum"].iloc[0])
    return {
        name: pd.DataFrame(
            {
                "depth": best["depth"],
                "value": [start + PREDICTIONS[name](float(L), first) for L in best["depth"]],
            }
        )
        for name in predictions
    }


def mean_square_slope(table: pd.DataFrame, *, along: str, given: Mapping[str, Any]) -> Interval:
    """Octaves per doubling of a size of the rate at which one step's squared movement, averaged
    over seeds, is one: the mean is of the squares, which rare large steps decide, and not of their
    logarithms. The interval is the jackknife's over seeds. Source: arXiv 2602.07494, Eq. 9."""
    found = where(table, given).pivot(index="seed", columns=along, values="optimum")
    squares, sizes = np.exp2(-2 * found.to_numpy(float)), np.log2(found.columns.to_numpy(float))

    def exponent(some: Array) -> float:
        return float(np.polyfit(sizes, -np.log2(some.mean(axis=0)) / 2, 1)[0])

    count, whole = len(squares), exponent(squares)
    without = np.array([exponent(np.delete(squares, seed, axis=0)) for seed in range(count)])
    return interval(count * whole - (count - 1) * without)._replace(samples=())
