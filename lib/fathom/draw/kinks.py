"""The figure of nonlinearities with one kink: what they reach, and why."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fathom.draw.panels import THIN, UNSURE
from fathom.draw.style import PAGE, PHI, PHI_NAMES, styled

OTHER = "0.35"


@styled
def kinks(
    best: pd.DataFrame,
    alike: pd.DataFrame,
    theory: Mapping[float, float],
    paper: tuple[str, pd.DataFrame],
) -> Figure:
    """Best log loss against the slope left of 0, the paper's two on their own scale, and how
    alike the gradients of neighbouring layers are, with the theory of it.

    `best`, as made by law.summary, `alike`, with columns value, low, high, and the paper's
    table have columns phi and left, the slope left of 0; where that is missing (a nonlinearity
    without a kink) the value is a level across the panel."""
    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    ours, theirs, why = figure.subplots(1, 3, width_ratios=[1.25, 0.8, 1.1])
    lost = best["flag"].isin(UNSURE)
    losses = best.assign(value=best["log_loss"], low=best["loss_low"], high=best["loss_high"])
    _by_slope(ours, losses.assign(unsure=lost))
    ours.set_title("16 blocks, random labels")
    ours.set_ylabel("best log loss, last fifth")
    _by_slope(theirs, paper[1].assign(value=paper[1]["log_loss"], unsure=False), hollow=True)
    theirs.set_title(paper[0])
    theirs.set_ylabel("best log loss")
    _by_slope(why, alike.assign(unsure=False), joined=False)
    places = sorted(theory)
    heights = [theory[place] for place in places]
    why.plot(places, heights, color="black", linestyle="--", linewidth=1, zorder=6)
    third = len(places) // 3
    spot = (places[third], heights[third])
    why.annotate("theory", spot, xytext=(8, -6), textcoords="offset points")
    why.set_title("neighbouring gradients")
    why.set_ylabel("likeness (ratio of cosines)")
    for axes in (ours, theirs, why):
        axes.set_xlabel("slope left of 0")
        axes.set_xlim(-1.15, 1.15)
        axes.margins(y=0.08)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−½", "0", "½", "1"])
    return figure


def _by_slope(
    axes: Axes, table: pd.DataFrame, *, hollow: bool = False, joined: bool = True
) -> None:
    """Values with 95 % bars against the slope, those with names in their colours."""
    line = table[table["left"].notna()].sort_values("left")
    if joined:
        axes.plot(line["left"], line["value"], color="0.6", linewidth=THIN, zorder=1)
    for _, spot in line.iterrows():
        colour = PHI.get(spot["phi"], OTHER)
        if "low" in spot:
            axes.plot([spot["left"]] * 2, [spot["low"], spot["high"]], color=colour, linewidth=1)
        empty = hollow or spot["unsure"]
        axes.plot(
            spot["left"],
            spot["value"],
            marker="v" if spot["unsure"] else "o",
            color=colour,
            markersize=4,
            markerfacecolor="white" if empty else colour,
            zorder=5,
        )
        if spot["phi"] in PHI_NAMES:
            _name(axes, spot, colour, aside=joined and not hollow)
    levels = table[table["left"].isna()].sort_values("value")
    for place, (_, spot) in enumerate(levels.iterrows()):
        colour, over = PHI.get(spot["phi"], OTHER), place == len(levels) - 1
        axes.axhline(spot["value"], color=colour, linestyle=":", linewidth=1)
        axes.axhspan(spot["low"], spot["high"], color=colour, alpha=0.15, linewidth=0)
        axes.annotate(
            PHI_NAMES.get(str(spot["phi"]), str(spot["phi"])),
            (-1.15, spot["high"] if over else spot["low"]),
            xytext=(4, 1 if over else -1),
            textcoords="offset points",
            color=colour,
            va="bottom" if over else "top",
        )


def _name(axes: Axes, spot: pd.Series, colour: str, *, aside: bool) -> None:
    """A point's name: right below it; left below it at the panel's right edge; left above it in
    the middle of a panel with levels (`aside`)."""
    edge, middle = spot["left"] > 0, aside and spot["left"] == 0
    axes.annotate(
        PHI_NAMES[spot["phi"]],
        (spot["left"], spot["value"]),
        xytext=(4, -8) if edge else (-5, 3) if middle else (6, -2),
        textcoords="offset points",
        color=colour,
        ha="right" if edge or middle else "left",
        va="bottom" if middle else "top",
    )
