"""Claims as data: a measure, a target, controls, steps towards the paper's setting, a verdict.

A part holds where the 95 % interval lies inside the target. Where it lies wholly outside, the
part does not hold if two steps towards the paper's setting agree; a part whose steps do not
agree, or that has none, is inconclusive, as is one whose interval crosses a bound. A part with a
control that fails is out of reach: the setting cannot show what the claim says. A claim holds
only if all its parts do.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from fathom import law
from fathom.law import Interval

HOLDS, FAILS, OPEN = "holds", "does not hold", "inconclusive"
OUT = "out of reach"
STEPS = 2  # towards the paper's setting, that have to agree before a part does not hold
NEEDS = {"size": "larger networks", "time": "longer training", "data": "other data"}


class Judged(NamedTuple):
    """A verdict, what it rests on besides the interval, and how many seeds would decide."""

    verdict: str
    reason: str
    seeds_needed: float


def verdict(found: Interval, low: float, high: float) -> str:
    """Where an interval lies, against a target [low, high]; controls and steps apart."""
    if math.isnan(found.value):
        return OPEN
    if low <= found.low and found.high <= high:
        return HOLDS
    return FAILS if found.high < low or high < found.low else OPEN


def half_width(said: Mapping[str, Any]) -> float:
    """The half-width that a part's interval should have, from the target alone: `half_width` where
    claims.yaml states it, else a quarter of the target's width, or half of a bound that is alone;
    NaN for the bound 0 alone, which names no size.

    A quarter: then the interval of a value in the middle of the target lies inside it in 95 of
    100 repetitions, whatever the number of seeds; with a third, in 76 to 79 (8 to 5 first ones)."""
    if "half_width" in said:
        return float(said["half_width"])
    low, high = target(said)
    if math.isfinite(low) and math.isfinite(high):
        return (high - low) / 4
    bound = low if math.isfinite(low) else high
    return abs(bound) / 2 or math.nan


def seeds_needed(found: Interval, said: Mapping[str, Any]) -> float:
    """How many seeds an inconclusive part wants for the half-width its target asks for; NaN
    where the interval is that narrow already, so that no seeds would decide, or not finite."""
    wanted = law.seeds_for(found, half_width(said))
    return wanted if wanted > found.seeds else math.nan


def measured(said: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> Interval:
    """What a part, a control or a step finds on its tables; where `first_stage` says how many
    seeds decided the number of all, the interval is that of two stages."""
    read = [tables[name] for name in read_by(said)]
    found = law.MEASURES[said["measure"]](*read, **said["with"])
    return law.two_stage(found, said["first_stage"]) if "first_stage" in said else found


def step(said: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A part one step nearer to the paper's setting: another table, another one to set it against,
    or other settings; what `given` says replaces or joins the part's own choice of rows."""
    settings = {**said["with"], **change.get("with", {})}
    if "given" in change:
        settings["given"] = {**settings["given"], **change["given"]}
    tables = {name: change[name] for name in ("table", "against") if name in change}
    return {**said, **tables, "with": settings}


def judged(found: Interval, said: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> Judged:
    """The verdict on a part: its controls first, then where its interval lies, then, where that
    is outside the target, the steps towards the paper's setting."""
    undecided = []
    for control in said.get("provided", {}).values():
        seen = measured(control, tables)
        word = verdict(seen, *target(control))
        shown = f"{control['says']}: {in_words(seen)}"
        if word == FAILS:
            return Judged(OUT, f"control fails: {shown}; needs {control['reach']}", math.nan)
        if word == OPEN:
            undecided.append(shown)
    word = verdict(found, *target(said))
    if undecided:
        return Judged(OPEN, f"control undecided: {'; '.join(undecided)}", math.nan)
    if word == FAILS:
        return Judged(*_nearer(said, tables), math.nan)
    if word == OPEN:
        needed = seeds_needed(found, said)
        return Judged(OPEN, _open(found, said, needed), needed)
    return Judged(HOLDS, "", math.nan)


def _open(found: Interval, said: Mapping[str, Any], needed: float) -> str:
    """Why the interval of a part decides nothing."""
    if math.isnan(found.value):
        return "no usable optimum at some size"
    if not math.isnan(needed):
        return f"needs {needed:.0f} seeds"
    return f"crosses a bound; {wants(said)}" if "wants" in said else "crosses a bound"


def _nearer(said: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> tuple[str, str]:
    """Whether the steps towards the paper's setting agree that a part does not hold, and what they
    find."""
    steps = {
        name: measured(step(said, change), tables)
        for name, change in said.get("towards", {}).items()
    }
    if len(steps) < STEPS:
        return OPEN, f"outside the target; {wants(said)}"
    shown = "; ".join(f"{name}: {in_words(seen)}" for name, seen in steps.items())
    agree = all(verdict(seen, *target(said)) == FAILS for seen in steps.values())
    return (FAILS, f"steps agree: {shown}") if agree else (OPEN, f"steps disagree: {shown}")


def wants(said: Mapping[str, Any]) -> str:
    """What an inconclusive part needs that is not seeds: claims.yaml says size, time or data, and
    perhaps more behind a colon."""
    if "wants" not in said:
        return "no steps towards the paper's setting were made"
    kind, _, more = said["wants"].partition(": ")
    return f"needs {NEEDS[kind]}" + (f": {more}" if more else "")


def in_words(found: Interval) -> str:
    """An interval as text."""
    if math.isnan(found.value):
        return "not measurable"
    return f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"


def tables_of(claims: Mapping[str, Any]) -> list[str]:
    """The tables that a paper's claims are measured on."""
    parts = [part for one in claims.values() for part in one["parts"].values()]
    return sorted({name for part in parts for one in everything(part) for name in read_by(one)})


def everything(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All that is measured for a part: itself, its controls, its steps."""
    steps = [step(part, change) for change in part.get("towards", {}).values()]
    return [part, *part.get("provided", {}).values(), *steps]


def read_by(part: Mapping[str, Any]) -> list[str]:
    """The tables that a part is measured on: its table, and that of the limit it is set
    against, where it has one."""
    return [part[name] for name in ("table", "against") if name in part]


def evaluate(claims: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per part of every claim of a paper.

    Columns: claim, part, says, paper, source, value, low, high, seeds, target_low,
    target_high, verdict, reason, seeds_needed (for inconclusive parts), figure. Raises
    LookupError for a measure that does not exist."""
    rows = []
    for name, one in claims.items():
        for part, said in one["parts"].items():
            for each in everything(said):
                if each["measure"] not in law.MEASURES:
                    allowed = ", ".join(law.MEASURES)
                    raise LookupError(f"{name} {part}: {each['measure']} is not one of {allowed}")
            low, high = target(said)
            found = measured(said, tables)
            about = {"claim": name, "part": part, "says": said["says"], "paper": said["paper"]}
            about |= {"source": said["source"], **found.row()}
            about |= {"target_low": low, "target_high": high}
            rows.append({**about, **judged(found, said, tables)._asdict(), "figure": one["figure"]})
    return pd.DataFrame(rows)


def target(said: Mapping[str, Any]) -> tuple[float, float]:
    """A part's target as numbers; null in claims.yaml is an open end."""
    low, high = said["target"]
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def overall(parts: pd.DataFrame) -> pd.Series:
    """One verdict per claim: holds if all its parts hold, does not hold if one does not, else
    inconclusive if a part is, else out of reach."""

    def word(found: pd.Series) -> str:
        said = set(found)
        return next(word for word in (FAILS, OPEN, OUT, HOLDS) if word in said)

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
