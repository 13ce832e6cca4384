"""Measures and sizes cell by cell, as tidy tables for drawing, and the phases they tell apart.

A cell is a choice of the columns `by`. Sizes are base-2 logarithms; every interval is
Student's t over seeds.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fathom.law.interval import interval
from fathom.law.measures import MEASURES, UNUSABLE
from fathom.law.optima import as_tuple

NAMED = {"mup": (0.0, 0.0), "ode": (1.0, 0.0), "depth_mup": (0.5, 0.5)}
ALPHA = re.compile(r"alpha\((.+), ?(.+)\)")
PHASES = (
    *("unstable at init", "unstable in training", "trivial"),
    *("unfaithful", "redundant", "diverse"),
)


def each(measure: str, table: pd.DataFrame, by: Sequence[str], **options: object) -> pd.DataFrame:
    """A measure (a key of MEASURES, with its options) on every cell: columns by, value, low,
    high, seeds."""
    rows = []
    for cell, group in table.groupby([*by], sort=True):
        found = MEASURES[measure](group, **{"given": {}, **options})
        rows.append({**dict(zip(by, as_tuple(cell), strict=True)), **found._asdict()})
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


def phases(table: pd.DataFrame, *, limits: Mapping[str, float]) -> pd.DataFrame:
    """What networks do at each point of the plane of (alpha, gamma), from the exponents of
    three measured sizes in depth, and what the theory says of the point.

    Unstable where stream_init or stream_move has an exponent above its limit, trivial where
    that of stream_move lies below minus its limit; else unfaithful where hidden_move grows,
    redundant where stream_init, the blocks' own noise, dies out, and diverse where it stays.
    `limits` maps the three names to their limits.

    Columns: rules, alpha, gamma, total (alpha + gamma), each name and its _low and _high,
    phase, sure (the intervals allow no other phase), theory. Source: Tensor Programs VI,
    Figure 1 and section 7."""
    found = {of: each("growth", table, ["rules"], of=of).set_index("rules") for of in limits}
    rows = []
    for rules in found["stream_init"].index:
        alpha, gamma = _plane(str(rules))
        row = {"rules": rules, "alpha": alpha, "gamma": gamma, "total": alpha + gamma}
        ends = []
        for of, measured in found.items():
            value, low, high = measured.loc[rules, ["value", "low", "high"]]
            row |= {of: value, f"{of}_low": low, f"{of}_high": high}
            ends.append([(of, low), (of, high)])
        allowed = {_phase(dict(corner), limits) for corner in itertools.product(*ends)}
        phase = _phase({of: row[of] for of in found}, limits)
        sure, theory = allowed == {phase}, _theory(alpha, gamma)
        rows.append({**row, "phase": phase, "sure": sure, "theory": theory})
    return pd.DataFrame(rows)


def _plane(rules: str) -> tuple[float, float]:
    said = ALPHA.fullmatch(rules)
    return (float(said[1]), float(said[2])) if said else NAMED[rules]


def _phase(exponent: Mapping[str, float], limits: Mapping[str, float]) -> str:
    sign = {of: (one > limits[of]) - (one < -limits[of]) for of, one in exponent.items()}
    init, move, hidden = sign["stream_init"], sign["stream_move"], sign["hidden_move"]
    if init > 0 or move != 0:
        return PHASES[0] if init > 0 else PHASES[1] if move > 0 else PHASES[2]
    return PHASES[3] if hidden > 0 else PHASES[4] if init < 0 else PHASES[5]


def _theory(alpha: float, gamma: float) -> str:
    total = alpha + gamma
    if alpha < 0.5 or total != 1:
        return PHASES[0] if alpha < 0.5 else PHASES[1] if total < 1 else PHASES[2]
    return PHASES[3] if alpha > 1 else PHASES[4] if alpha > 0.5 else PHASES[5]
