"""One panel each: a table of curves or optima on a pair of axes."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fathom.draw.style import (
    KIND_NAMES,
    KINDS,
    LINES,
    Found,
    depth_colour,
    powers_of_two,
    styled,
)

THIN, THICK = 0.7, 1.2
CLOSE = 0.15
UNSURE = ("edge", "lost", "failed", "capped")


@styled
def rate_curves(
    axes: Axes,
    curves: pd.DataFrame,
    best: pd.DataFrame,
    *,
    top: float,
    hollow: bool = False,
    over: str = "log2_lr",
) -> None:
    """Log loss against the base rate, or what else was swept (`over`), one curve per depth (and
    width), the optima marked and joined by a thin line: upright where the rate transfers.

    `curves` as made by law.bands and `best` by law.summary, with columns depth and perhaps
    width. Where a curve leaves the panel at `top`, on either side, it breaks off in a small
    cross on the upper edge; a curve above it throughout is a cross at its largest rate.
    Widths other than 16 and 64 (bases) are drawn thin. Hollow markers and thin lines are a
    paper's own values."""
    sizes = ["width", "depth"] if "width" in curves else ["depth"]
    for _, curve in curves.groupby(sizes):
        curve = curve.sort_values(over)
        colour, line = _look(curve.iloc[0])
        seen = curve["log_loss"].where(curve["log_loss"] <= top)
        rates, thin = curve[over], hollow or line != "-"
        width = THIN if thin else THICK
        axes.plot(rates, seen, color=colour, linestyle=line, linewidth=width)
        if not thin:
            low, high = curve["low"].where(seen.notna()), curve["high"].clip(upper=top)
            axes.fill_between(rates, low, high, color=colour, alpha=0.2, linewidth=0)
        lost = seen.isna() & (seen.shift(1).notna() | seen.shift(-1).notna())
        lost = lost if seen.notna().any() else rates == rates.max()
        if lost.any():
            crosses = {"marker": "x", "markersize": 3.5, "linestyle": "", "clip_on": False}
            axes.plot(rates[lost], [top] * int(lost.sum()), color=colour, **crosses)
    shown = best[best["log_loss"] <= top].sort_values("depth")
    sure = shown[~shown["flag"].isin(UNSURE)]
    for _, line in sure.groupby("width") if "width" in sure else [(0, sure)]:
        axes.plot(line["optimum"], line["log_loss"], color="0.6", linewidth=THIN, zorder=1)
    for _, spot in shown.iterrows():
        _dot(axes, spot["optimum"], spot["log_loss"], spot, hollow=hollow)
    powers_of_two(axes.xaxis, 5)


def _look(row: Any) -> tuple[Any, Any]:
    return depth_colour(row["depth"]), LINES.get(int(row["width"]), "-") if "width" in row else "-"


def _dot(axes: Axes, x: float, y: float, spot: Any, *, hollow: bool) -> None:
    """An optimum: filled; hollow with a caret where the grid's edge decided it."""
    colour, edge = depth_colour(spot["depth"]), spot["flag"] in UNSURE
    axes.plot(
        x,
        y,
        marker="<" if edge else "o",
        color=colour,
        markersize=4,
        zorder=5,
        markerfacecolor="white" if edge or hollow else colour,
    )


@styled
def strip(axes: Axes, best: pd.DataFrame, *, x: str = "depth", hollow: bool = False) -> None:
    """The optimum against a size, with 95 % bars over seeds; a level line is transfer. A small
    cross on the upper edge is a size whose grid holds no optimum."""
    shown = best[best["optimum"].notna()].sort_values(x)
    sure = shown[~shown["flag"].isin(UNSURE)]
    other = "width" if x == "depth" else "depth"
    for _, line in sure.groupby(other) if other in sure else [(0, sure)]:
        style = _look(line.iloc[0])[1] if len(line) and x == "depth" else "-"
        axes.plot(
            _log2(line[x]), line["optimum"], color="0.6", linestyle=style, linewidth=THIN, zorder=1
        )
    for _, spot in sure.iterrows():
        size = math.log2(spot[x])
        if not hollow and math.isfinite(spot["low"]):
            bar = [spot["low"], spot["high"]]
            axes.plot([size, size], bar, color=depth_colour(spot["depth"]), linewidth=1)
        _dot(axes, size, spot["optimum"], spot, hollow=hollow)
    for _, spot in shown[shown["flag"].isin(UNSURE)].iterrows():
        axes.plot(
            math.log2(spot[x]),
            1,
            "x",
            color=depth_colour(spot["depth"]),
            markersize=3.5,
            clip_on=False,
            transform=axes.get_xaxis_transform(),
        )
    powers_of_two(axes.xaxis)
    powers_of_two(axes.yaxis, 4)


def _log2(sizes: Iterable[float]) -> list[float]:
    return [math.log2(size) for size in sizes]


def _span(values: pd.Series) -> float:
    return float(values.max() - values.min())


@styled
def depth_losses(axes: Axes, best: pd.DataFrame, *, hollow: bool = False, by: str = "phi") -> None:
    """The best log loss against depth, one line per nonlinearity (or per value of another
    column, `by`), named at its end; of two close together the upper name gives way."""
    ends = best[best["depth"] == best["depth"].max()].set_index(by)["log_loss"].sort_values()
    close = len(ends) == 2 and ends.iloc[1] - ends.iloc[0] < CLOSE * _span(best["log_loss"])
    places = dict(zip(ends.index, ["center", "bottom"], strict=True)) if close else {}
    for kind, line in best.groupby(by):
        line, colour = line.sort_values("depth"), KINDS[str(kind)]
        depths = _log2(line["depth"])
        axes.plot(
            depths,
            line["log_loss"],
            color=colour,
            marker="o",
            markersize=3.5,
            markerfacecolor="white" if hollow else colour,
            linewidth=THIN if hollow else THICK,
        )
        if "loss_low" in line:
            axes.fill_between(
                depths, line["loss_low"], line["loss_high"], color=colour, alpha=0.2, linewidth=0
            )
        axes.annotate(
            KIND_NAMES[str(kind)],
            (depths[-1], line["log_loss"].iloc[-1]),
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            va=places.get(kind, "center"),
        )
    powers_of_two(axes.xaxis)
    axes.margins(x=0.18)


@styled
def power_law(
    axes: Axes,
    best: pd.DataFrame,
    *,
    colour: Any,
    label: str,
    hollow: bool = False,
    at: int = -1,
) -> None:
    """Optima with 95 % bars against depth, both as powers of two, named at the point `at`
    (left of it in mid-curve); optima on the grid's edge are hollow carets."""
    line = best[best["optimum"].notna()].sort_values("depth")
    depths = _log2(line["depth"])
    axes.plot(depths, line["optimum"], color=colour, linewidth=THIN)
    for depth, (_, spot) in zip(depths, line.iterrows(), strict=True):
        edge = spot["flag"] in UNSURE
        axes.plot([depth, depth], [spot["low"], spot["high"]], color=colour, linewidth=1)
        axes.plot(
            depth,
            spot["optimum"],
            marker="v" if edge else "o",
            color=colour,
            markersize=3.5,
            markerfacecolor="white" if edge or hollow else colour,
        )
    left = at > 0
    axes.annotate(
        label,
        (depths[at], line["optimum"].iloc[at]),
        xytext=(-5 if left else 5, 0),
        textcoords="offset points",
        color=colour,
        va="center",
        ha="right" if left else "left",
    )
    powers_of_two(axes.xaxis)
    powers_of_two(axes.yaxis)


@styled
def theory(
    axes: Axes, depths: Sequence[float], log2: Sequence[float], label: str, *, at: int
) -> None:
    """A theory's curve over depth: black, dashed, drawn last, named right of a point."""
    axes.plot(_log2(depths), log2, color="black", linestyle="--", linewidth=1, zorder=6)
    axes.annotate(
        label,
        (math.log2(depths[at]), log2[at]),
        xytext=(6, 4),
        textcoords="offset points",
    )


@styled
def exponents(axes: Axes, rows: Sequence[tuple[str, Sequence[Found | float], Any]]) -> None:
    """Exponents one under the other, rows of (label, intervals or numbers, colour): intervals
    are ours, filled; plain numbers are a paper's, hollow."""
    for place, (_, row, colour) in enumerate(rows):
        for found in row:
            if isinstance(found, (int, float)):
                axes.plot(found, place, "o", color=colour, markersize=4, markerfacecolor="white")
            else:
                ends = [found.low, found.high]
                axes.plot(ends, [place, place], color=colour, linewidth=THICK)
                axes.plot(found.value, place, "o", color=colour, markersize=4)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def size_handles(depths: Iterable[int], widths: Iterable[int] = ()) -> list[Line2D]:
    """Handles of a figure's one key: the colours of the depths, the line styles of widths."""
    colours = [Line2D([], [], color=depth_colour(depth), label=str(depth)) for depth in depths]
    styles = [
        Line2D([], [], color="0.3", linestyle=LINES.get(w, "-"), label=f"width {w}") for w in widths
    ]
    return colours + styles
