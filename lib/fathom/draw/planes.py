"""Two parameters at once: the plane of (alpha, gamma), and heat maps of loss."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fathom.draw.lines import PHASES, Panel, power_lines
from fathom.draw.panels import THIN, UNSURE
from fathom.draw.style import PAGE, powers_of_two, styled

MARKERS = {
    "unstable at init": "s",
    "unstable in training": "^",
    "trivial": "v",
    "unfaithful": "D",
    "redundant": "o",
    "diverse": "*",
}
COLOURS = sns.color_palette("rocket", as_cmap=True)
LARGER = {"diverse": 1.7, "unfaithful": 0.85}
FRACTIONS = {0.25: "¼", 0.5: "½", 0.75: "¾", 1.0: "1", 1.25: "5/4", 1.5: "3/2"}


def _marker(phase: str, *, sure: bool) -> dict[str, Any]:
    colour = PHASES[phase]
    return {
        "marker": MARKERS[phase],
        "color": colour,
        "markerfacecolor": colour if sure else "white",
        "markersize": 6 * LARGER.get(phase, 1.0),
        "linestyle": "",
    }


@styled
def phase_plane(axes: Axes, points: pd.DataFrame) -> None:
    """alpha across, alpha + gamma up: a marker for what networks do at each point (a table as
    made by law.phases), hollow where the intervals allow something else, ringed where the
    theory says something else, with the measured exponent of the stream's movement beside it;
    the theory's borders and regions over it in black."""
    for row in points.to_dict("records"):
        spot = (row["alpha"], row["total"])
        axes.plot(*spot, zorder=4, **_marker(row["phase"], sure=row["sure"]))
        if row["phase"] != row["theory"]:
            axes.plot(*spot, "o", color="black", markersize=12, markerfacecolor="none", zorder=5)
        if row["phase"] != "unstable at init":
            said = f"{row['stream_move']:+.2f}".replace("-", "−")
            below = {"xytext": (4, -7), "textcoords": "offset points"}
            axes.annotate(said, spot, ha="left", va="top", fontsize=6.5, color="0.3", **below)
    line = {"color": "black", "linestyle": "--", "linewidth": 1, "zorder": 3}
    low, high = points["total"].min() - 0.2, points["total"].max() + 0.2
    left, right = points["alpha"].min() - 0.14, points["alpha"].max() + 0.19
    axes.plot([0.5, 0.5], [low, high], **line)
    axes.plot([0.5, right], [1, 1], **line)
    axes.plot([1, 1], [0.93, 1.07], **line)
    said = {"ha": "center", "va": "center", "fontsize": 8}
    axes.text(0.375, 1, "unstable at init", rotation=90, **said)
    axes.text(0.875, 1.375, "trivial", **said)
    axes.text(0.875, 0.625, "unstable in training", **said)
    names = {"Depth-μP": (0.655, 1.14), "redundant": (0.875, 1.085), "unfaithful": (1.21, 1.085)}
    for name, spot in names.items():
        axes.text(*spot, name, **{**said, "fontsize": 7.5})
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    for axis, values in ((axes.xaxis, points["alpha"]), (axes.yaxis, points["total"])):
        ticks = sorted(set(values))
        axis.set_ticks(ticks, [FRACTIONS.get(tick, f"{tick:g}") for tick in ticks])
    axes.set_xlabel("α: branches as depth⁻ᵅ")
    axes.set_ylabel("α + γ: updates as depth⁻ᵞ")


@styled
def phases(points: pd.DataFrame, title: str, beside: Sequence[Panel]) -> Figure:
    """The plane of (alpha, gamma), and four panels beside it with the sizes it is derived from."""
    figure = Figure(figsize=(PAGE, 4.2), layout="constrained")
    places: Any = [["plane", "0", "1"], ["plane", "2", "3"]]
    axes = figure.subplot_mosaic(places, width_ratios=[2.1, 1, 1])
    phase_plane(axes["plane"], points)
    axes["plane"].set_title(title)
    for number, panel in enumerate(beside):
        power_lines(axes[str(number)], panel)
        left, right = axes[str(number)].get_xlim()
        axes[str(number)].set_xlim(left, right + 0.35 * (right - left))
    seen = [phase for phase in PHASES if phase in set(points["phase"])]
    looks = [Line2D([], [], label=phase, **_marker(phase, sure=True)) for phase in seen]
    figure.legend(
        handles=looks,
        loc="outside lower center",
        ncols=len(looks),
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.9,
    )
    return figure


class Maps(NamedTuple):
    """A row of heat maps, one per value of the column `along`: cells with columns along,
    log2_lr, log2_gain, log_loss; the optimum of every multiplier with columns along,
    optimum, log2_gain, flag; a title for each map, and the names of the row and its axis."""

    name: str
    x: str
    cells: pd.DataFrame
    best: pd.DataFrame
    titles: Mapping[int, str]
    along: str = "layers"


@styled
def heat_maps(rows: Sequence[Maps], *, height: float, top: float) -> Figure:
    """Log loss over rate (across) and branch multiplier (up), a row of maps per kind of
    network, each row on a colour scale of its own. Points are the best rate of each
    multiplier, hollow carets where the grid's edge decided it. A cell above `top`, a network
    that has learned nothing, is white with a cross: small where it ended, large where it
    diverged. Rows with equal axes are named once, under the last of them."""
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    columns = max(len(row.titles) for row in rows)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    following = [row.x for row in rows[1:]] + [""]
    for axes, row, after in zip(grid, rows, following, strict=True):
        shown = row.cells.loc[row.cells["log_loss"] <= top, "log_loss"]
        scale = Normalize(shown.min(), shown.max())
        for place, (size, title) in zip(axes, row.titles.items(), strict=True):
            mine = row.cells[row.cells[row.along] == size]
            _map(place, mine, row.best[row.best[row.along] == size], scale, top)
            place.set_title(title, fontsize=8)
            place.set_xlabel("" if row.x == after else row.x)
        axes[0].set_ylabel(row.name)
        bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=list(axes), pad=0.01, aspect=12)
        bar.set_label("log loss")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _map(axes: Axes, cells: pd.DataFrame, best: pd.DataFrame, scale: Normalize, top: float) -> None:
    table = cells.pivot(index="log2_gain", columns="log2_lr", values="log_loss")
    loss = np.ma.masked_greater(table.to_numpy(float), top)
    axes.pcolormesh(
        table.columns.to_numpy(float),
        table.index.to_numpy(float),
        loss,
        norm=scale,
        cmap=COLOURS,
        shading="nearest",
        edgecolors="face",
        linewidth=0.2,
    )
    for gain, rate in zip(*np.nonzero(np.ma.getmaskarray(loss)), strict=True):
        size = 2.5 if math.isfinite(loss.data[gain, rate]) else 6
        axes.plot(table.columns[rate], table.index[gain], "x", color="0.5", markersize=size)
    sure = best[~best["flag"].isin(UNSURE)].sort_values("log2_gain")
    axes.plot(sure["optimum"], sure["log2_gain"], color="white", linewidth=THIN, zorder=3)
    for row in best[best["optimum"].notna()].to_dict("records"):
        edge = row["flag"] in UNSURE
        face = "none" if edge else "white"
        look: Any = {"markersize": 3.2, "markeredgewidth": 0.6, "zorder": 4}
        look |= {"color": "white" if edge else "black", "markerfacecolor": face}
        axes.plot(row["optimum"], row["log2_gain"], "<" if edge else "o", **look)
    powers_of_two(axes.xaxis, 5)
    powers_of_two(axes.yaxis, 4)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
