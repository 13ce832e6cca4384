"""What a way of choosing sweeps finds in data whose exponent is known: a simulation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fathom.law.interval import Array
from fathom.law.optima import as_tuple, optima

SHOWN = -1.5  # the exponent that is looked for
WINDOW = (-1.6, -1.4)
TRUTHS = (-1.0, -1.2, -1.5)
SEEDS, SWEEPS, REPEATS = 2, 10, 4000
SHUFFLED = 1  # the seed of the control, apart from that of the optima
GRID = {"floor": (0.5, np.inf), "ceiling": (-np.inf, -0.5)}  # octaves inside the true range


def hazards(runs: pd.DataFrame, by: Sequence[str], metric: str = "loss_mean") -> pd.DataFrame:
    """The exponents that ways of choosing find, by simulation: optima on a line of a known
    exponent, with the scatter over seeds that the sweep itself has, two seeds to a sweep.

    Ways: first, one sweep; until_inside, sweeps until the exponent lies in -1.5 +- 0.1, at most
    ten; nearest, of ten sweeps the one nearest -1.5; one_more and one_less, depth counted by one
    too many or too few; floor and ceiling, a grid that ends half an octave inside of the range of
    optima; shuffled, the negative control: optima given to depths at random. Columns: by but
    depth, truth, way, exponent (mean), low, high (95 % of sweeps), inside (share that finds
    -1.5 +- 0.1), seeds (sweeps simulated). Kinds with fewer than three depths are left out.
    Source: the ways are those of the public programs of arXiv 2510.04327; the control is that of
    our notes, section 7.2."""
    rest = [name for name in by if name != "depth"]
    best, rows = optima(runs, by, metric), []
    for kind, group in best.groupby([*rest]) if rest else [((), best)]:
        table = group.pivot(index="seed", columns="depth", values="optimum").dropna()
        depths = table.columns.to_numpy(float)
        if len(depths) < 3 or len(table) < 2:
            continue
        scatter = float(table.std(ddof=1).mean()) / SEEDS**0.5
        for truth in TRUTHS:
            for way, found in _ways(depths, truth, scatter).items():
                low, high = np.quantile(found, [0.025, 0.975])
                inside = float(((found >= WINDOW[0]) & (found <= WINDOW[1])).mean())
                named = dict(zip(rest, as_tuple(kind), strict=True))
                spread = {"low": float(low), "high": float(high), "inside": inside}
                one = {"truth": truth, "way": way, "exponent": float(found.mean())}
                rows.append({**named, **one, **spread, "seeds": REPEATS})
    return pd.DataFrame(rows)


def _ways(depths: Array, truth: float, scatter: float) -> dict[str, Array]:
    """The exponent that each way reports, in each of REPEATS repetitions."""
    noise = np.random.default_rng(2602_07494).normal(0, scatter, (REPEATS, SWEEPS, len(depths)))
    line = truth * np.log2(depths)
    sweeps = line + noise
    found = _slopes(depths, sweeps)
    inside = (found >= WINDOW[0]) & (found <= WINDOW[1])
    stop = np.where(inside.any(1), inside.argmax(1), SWEEPS - 1)
    near = np.abs(found - SHOWN).argmin(1)
    each = np.arange(REPEATS)
    ways = {"first": found[:, 0], "until_inside": found[each, stop], "nearest": found[each, near]}
    ways["one_more"] = _slopes(depths + 1, sweeps[:, 0])
    ways["one_less"] = _slopes(depths - 1, sweeps[:, 0])
    for name, (above, below) in GRID.items():
        ends = (line.min() + above, line.max() + below)
        ways[name] = _slopes(depths, np.clip(sweeps[:, 0], *ends))
    shuffle = np.random.default_rng(SHUFFLED).permuted
    ways["shuffled"] = _slopes(depths, shuffle(sweeps[:, 0], axis=1))
    return ways


def _slopes(depths: Array, values: Array) -> Array:
    x = np.log2(depths) - np.log2(depths).mean()
    return values @ x / (x @ x)
