"""Claims as data: a measure, a target fixed before the run, a verdict.

A part holds where the 95 % interval lies inside the target, does not hold where it lies
wholly outside, and is inconclusive otherwise. A claim holds only if all its parts do.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fathom import law
from fathom.law import Interval

HOLDS, FAILS, OPEN = "holds", "does not hold", "inconclusive"


def verdict(found: Interval, low: float, high: float) -> str:
    """The verdict on an interval against a target [low, high]."""
    if math.isnan(found.value):
        return OPEN
    if low <= found.low and found.high <= high:
        return HOLDS
    return FAILS if found.high < low or high < found.low else OPEN


def seeds_needed(found: Interval, low: float, high: float) -> float:
    """How many seeds would decide an inconclusive part if its value stayed where it is: the
    interval shrinks as 1/sqrt(seeds); NaN where the value is not finite."""
    if not all(map(math.isfinite, found[:3])):
        return math.nan
    half = (found.high - found.low) / 2
    distance = min(abs(found.value - end) for end in (low, high))
    return math.ceil(found.seeds * (half / distance) ** 2) if distance else math.inf


def tables_of(claims: Mapping[str, Any]) -> list[str]:
    """The tables that a paper's claims are measured on."""
    parts = [part for one in claims.values() for part in one["parts"].values()]
    return sorted({name for part in parts for name in read_by(part)})


def read_by(part: Mapping[str, Any]) -> list[str]:
    """The tables that a part is measured on: its table, and that of the limit it is set
    against, where it has one."""
    return [part[name] for name in ("table", "against") if name in part]


def evaluate(claims: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per part of every claim of a paper.

    Columns: claim, part, says, paper, source, value, low, high, seeds, target_low,
    target_high, verdict, seeds_needed (for inconclusive parts), figure."""
    rows = []
    for name, one in claims.items():
        for part, said in one["parts"].items():
            low, high = target(said)
            if said["measure"] not in law.MEASURES:
                allowed = ", ".join(law.MEASURES)
                raise LookupError(f"{name} {part}: {said['measure']} is not one of {allowed}")
            read = [tables[name] for name in read_by(said)]
            found = law.MEASURES[said["measure"]](*read, **said["with"])
            word = verdict(found, low, high)
            needed = seeds_needed(found, low, high) if word == OPEN else math.nan
            about = {"claim": name, "part": part, "says": said["says"], "paper": said["paper"]}
            about |= {"source": said["source"], **found._asdict()}
            about |= {"target_low": low, "target_high": high, "verdict": word}
            rows.append({**about, "seeds_needed": needed, "figure": one["figure"]})
    return pd.DataFrame(rows)


def target(said: Mapping[str, Any]) -> tuple[float, float]:
    """A part's target as numbers; null in claims.yaml is an open end."""
    low, high = said["target"]
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def overall(parts: pd.DataFrame) -> pd.Series:
    """One verdict per claim: holds if all its parts hold, does not hold if one does not."""

    def word(found: pd.Series) -> str:
        said = set(found)
        return HOLDS if said == {HOLDS} else FAILS if FAILS in said else OPEN

    return parts.groupby("claim", sort=False)["verdict"].agg(word)


def words(parts: pd.DataFrame, figure: str | None = None) -> str:
    """Claim ids and verdict words, a line each: what a figure's claim cell prints."""
    mine = parts if figure is None else parts[parts["figure"] == figure]
    lines = []
    for name, word in overall(mine).items():
        lines.append(f"{name}: {word}")
        own = mine[mine["claim"] == name]
        lines += [f"  {row.part}: {row.verdict}" for row in own.itertuples() if len(own) > 1]
    return "\n".join(lines)
