"""Measures and sizes cell by cell, as tidy tables for drawing.

A cell is a choice of the columns `by`. Sizes are base-2 logarithms; every interval is
Student's t over seeds.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fathom.law.interval import interval
from fathom.law.measures import MEASURES, UNUSABLE
from fathom.law.optima import as_tuple

FIFTHS = ("loss_early", "loss_second", "loss_third", "loss_fourth", "loss_late")


def each(measure: str, table: pd.DataFrame, by: Sequence[str], **options: object) -> pd.DataFrame:
    """A measure (a key of MEASURES, with its options) on every cell: columns by, value, low,
    high, seeds."""
    rows = []
    for cell, group in table.groupby([*by], sort=True):
        found = MEASURES[measure](group, **{"given": {}, **options})
        rows.append({**dict(zip(by, as_tuple(cell), strict=True)), **found.row()})
    return pd.DataFrame(rows)


def sizes(table: pd.DataFrame, by: Sequence[str], of: str) -> pd.DataFrame:
    """log2 of a measured column, averaged over seeds: columns by, value, low, high. What is
    not a number, an overflow, counts as infinite."""
    rows = []
    for cell, group in table.groupby([*by], sort=True):
        with np.errstate(divide="ignore"):  # nothing at all has the logarithm -inf
            value = np.log2(group[of].to_numpy(float))
        found = interval(np.where(np.isnan(value), math.inf, value))
        named = dict(zip(by, as_tuple(cell), strict=True))
        rows.append({**named, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def fifths(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Training curves: the log loss of each fifth of the steps, averaged over seeds: columns by,
    fifth (1 to 5), value, low, high; infinite where a seed diverged."""
    parts = []
    for cell, group in runs.groupby([*by], sort=True):
        named = dict(zip(by, as_tuple(cell), strict=True))
        for number, name in enumerate(FIFTHS, start=1):
            found = interval(np.log(group[name].to_numpy(float)))
            place = {"fifth": number, "value": found.value, "low": found.low, "high": found.high}
            parts.append({**named, **place})
    return pd.DataFrame(parts)


def above(best: pd.DataFrame, by: Sequence[str], along: str = "depth") -> pd.DataFrame:
    """The best log loss at every size minus that at the smallest, paired by seed: columns by,
    along, value, low, high."""
    rows = []
    for cell, group in best.groupby([*by], sort=True):
        losses = group.pivot(index="seed", columns=along, values="log_loss")
        for size, gap in losses.sub(losses.iloc[:, 0], axis=0).items():
            found = interval(gap.to_numpy(float))
            named = {**dict(zip(by, as_tuple(cell), strict=True)), along: size}
            rows.append({**named, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def guides(
    lines: pd.DataFrame, exponents: Mapping[str, float], *, by: str = "rules", along: str = "depth"
) -> pd.DataFrame:
    """The line of an exponent through the last point of each of the lines that `sizes` made;
    `along` is a size, or a base-2 logarithm where its name begins with log2. Columns by,
    along, value."""
    parts = []
    for name, line in lines[lines[by].isin(exponents)].groupby(by):
        line = line.sort_values(along)
        size = line[along] if along.startswith("log2") else line[along].map(math.log2)
        octaves = size - size.iloc[-1]
        value = line["value"].iloc[-1] + exponents[str(name)] * octaves
        parts.append(line[[by, along]].assign(value=value))
    return pd.concat(parts, ignore_index=True)


def tuned(best: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The best log loss over all usable optima of a cell, seed by seed, then averaged: columns
    by, value, low, high. NaN where a seed has none."""
    rows = []
    best = best.assign(log_loss=best["log_loss"].mask(best["flag"].isin(UNUSABLE)))
    for cell, group in best.groupby([*by], sort=True):
        found = interval(group.groupby("seed")["log_loss"].min().to_numpy(float))
        named = dict(zip(by, as_tuple(cell), strict=True))
        rows.append({**named, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def distances(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The columns gap_4, gap_5 ... as rows, each over gap_4 of its seed: columns by,
    log2_epsilon, value (log2, averaged over seeds), low, high."""
    gaps = [name for name in table.columns if name.startswith("gap_")]
    parts = []
    for name in gaps:
        there = table[table[name].notna()]
        ratio = there[name] / there[gaps[0]]
        if len(there):
            part = sizes(there.assign(ratio=ratio), by, "ratio")
            parts.append(part.assign(log2_epsilon=-int(name.removeprefix("gap_"))))
    return pd.concat(parts, ignore_index=True)
