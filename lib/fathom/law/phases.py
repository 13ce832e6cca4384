"""What networks do over the plane of (alpha, gamma): phases, told apart by measured exponents."""

import itertools
import re
from collections.abc import Mapping

import pandas as pd

from fathom.law.curves import each

NAMED = {"mup": (0.0, 0.0), "ode": (1.0, 0.0), "depth_mup": (0.5, 0.5)}
ALPHA = re.compile(r"alpha\((.+), ?(.+)\)")
PHASES = (
    *("unstable at init", "unstable in training", "trivial"),
    *("unfaithful", "redundant", "diverse"),
)


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
