"""What a fitted exponent owes to the fit."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fathom.draw.laws import HUES, ROOM, Chart, Row, listed
from fathom.draw.style import PAGE, powers_of_two, styled

ROW = 0.16  # inches
APART = 0.06  # octaves of depth between the points of two lines


@styled
def fits(charts: Sequence[Chart], rows: Sequence[Row], *, low: float) -> Figure:
    """Local slopes against depth, a panel for each chart (its lines with columns depth, value, low,
    high; its theories dashed; bars end at `low`), and below them a list of exponents."""
    below = ROW * len(rows) + 0.5
    figure = Figure(figsize=(PAGE, 2.0 + below), layout="constrained")
    figure.set_layout_engine("constrained", rect=(ROOM, 0, 1 - ROOM, 1))
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.0, below])[:, 0]
    row = upper.subplots(1, len(charts), sharey=True, squeeze=False)[0]
    for axes, chart in zip(row, charts, strict=True):
        _local(axes, chart, low)
    row[0].set_ylabel("local exponent")
    row[0].set_ylim(low, 0.2)
    listed(lower.subplots(), rows, "One exponent, fitted in four ways")
    return figure


def _local(axes: Axes, chart: Chart, low: float) -> None:
    for i, line in enumerate(chart.lines):
        table, hue = line.best.dropna().sort_values("depth"), HUES[line.hue]
        if table.empty:
            continue
        places = [math.log2(depth) + APART * i for depth in table["depth"]]
        axes.plot(places, table["value"], color=hue, marker="o", markersize=3.5, linewidth=1)
        axes.vlines(places, table["low"].clip(lower=low), table["high"], color=hue, linewidth=1)
        low_left = (0.04, 0.04 + 0.1 * i)
        axes.annotate(line.label, low_left, xycoords="axes fraction", color=hue)
    for label, curve in chart.theories.items():
        places = [math.log2(depth) for depth in curve["depth"]]
        axes.plot(places, curve["value"], color="black", linestyle="--", linewidth=1, zorder=6)
        high_right = (0.98, 0.97)
        axes.annotate(
            f"dashes: {label}", high_right, xycoords="axes fraction", ha="right", va="top"
        )
    axes.margins(x=0.25)
    powers_of_two(axes.xaxis, 5)
    axes.set_title(chart.title)
    axes.set_xlabel("depth")
