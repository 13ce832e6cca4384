"""Log loss against hyperparameters other than the rate, a panel each."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from fathom.draw.panels import rate_curves, size_handles
from fathom.draw.style import PAGE, styled


class Swept(NamedTuple):
    """A hyperparameter: its name, the column `over` that holds its values, curves as made by
    law.bands, optima as made by law.summary, and, where the column holds no base-2 logarithms, the
    places that are labelled, and how."""

    title: str
    x: str
    over: str
    curves: pd.DataFrame
    best: pd.DataFrame
    ticks: Mapping[float, str] | None = None


@styled
def hyperparameters(swept: Sequence[Swept], *, top: float, loss: str) -> Figure:
    """Log loss against every hyperparameter, a curve per depth with its optimum marked: two optima
    one above the other transfer. All panels share the axis of log loss, which ends at `top`; a
    curve that leaves it breaks off in a cross."""
    down = 1 if len(swept) < 4 else 2
    figure = Figure(figsize=(PAGE, 1 + 1.35 * down), layout="constrained")
    grid = figure.subplots(down, -(-len(swept) // down), sharey=True, squeeze=False)
    for axes, one in zip(grid.flatten(), swept, strict=False):
        rate_curves(axes, one.curves, one.best, top=top, over=one.over)
        axes.set_title(one.title)
        axes.set_xlabel(one.x)
        if one.ticks is not None:
            axes.set_xticks(list(one.ticks), list(one.ticks.values()))
    low = min(one.curves["low"].min() for one in swept)
    grid[0][0].set_ylim(low - 0.08 * (top - low), top)
    for row in grid:
        row[0].set_ylabel(f"log loss, {loss}")
    depths = sorted(set(swept[0].curves["depth"]))
    keys = size_handles(depths)
    title = "depth (dark = deep)"
    figure.legend(
        handles=keys, loc="outside upper center", ncols=len(keys), title=title, frameon=False
    )
    return figure
