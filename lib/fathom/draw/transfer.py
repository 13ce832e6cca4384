"""Whole figures: panels in their fixed places, at their final size."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fathom.draw.panels import (
    UNSURE,
    depth_losses,
    exponents,
    power_law,
    rate_curves,
    size_handles,
    strip,
    theory,
)
from fathom.draw.style import PAGE, TITLES, Found, in_words, styled

BASE_RATE = "base learning rate"


class Paper(NamedTuple):
    """A paper's own curves and optima, what they were measured on, and their log-loss cap."""

    curves: pd.DataFrame
    best: pd.DataFrame
    caption: str
    top: float
    axis: str


@styled
def transfer(
    curves: pd.DataFrame,
    best: pd.DataFrame,
    drifts: Mapping[str, Found],
    *,
    columns: Sequence[str],
    top: float,
    loss: str,
    paper: Paper | None = None,
    x: str = "depth",
    beside: pd.DataFrame | None = None,
    by: str = "rules",
    over: str = "log2_lr",
    axis: str = BASE_RATE,
    apart: bool = False,
    reached: Sequence[pd.DataFrame] = (),
) -> Figure:
    """The transfer plot: a column per parametrization; above, log loss against the rate with
    optima marked and joined; below, the optimum against a size with its drift in words; the
    paper's own curves, where known, at the foot.

    `curves`, `best` and `drifts` hold a column or key `rules`, or what else the columns are
    (`by`); `over` and `axis` are what was swept, column and name; `apart` gives every column a
    scale of loss of its own. `beside` are optima measured elsewhere for the last column, drawn
    hollow in its lower panel; `reached` are best losses, ours and the paper's, drawn against
    depth in a further column, a line per `by`."""
    heights = [2.0, 1.0, 1.35][: 3 if paper else 2]
    figure = Figure(figsize=(PAGE, 4.5 if paper else 3.5), layout="constrained")
    across = len(columns) + bool(reached)
    sharey = "none" if apart else "row"
    grid = figure.subplots(
        len(heights), across, squeeze=False, height_ratios=heights, sharey=sharey
    )
    for column, rules in enumerate(columns):
        upper, lower = grid[0][column], grid[1][column]
        mine, optima = _of(curves, rules, by), _of(best, rules, by)
        rate_curves(upper, mine, optima, top=top, over=over)
        upper.set_title(TITLES.get(rules, rules))
        upper.set_xlabel(axis)
        strip(lower, optima, x=x)
        said = _drift(drifts[rules], optima, x, "\n" if len(columns) > 3 else ", ")
        lower.set_title(said, fontsize=7.5, color="0.25")
        lower.set_xlabel(x)
        if paper and rules in set(paper.curves[by]):
            foot, own = grid[2][column], _of(paper.curves, rules, by)
            lowest = _of(paper.best, rules, by)
            rate_curves(foot, own, lowest, top=paper.top, hollow=True, over=over)
            foot.set_xlabel(paper.axis)
        elif paper:
            grid[2][column].set_visible(False)
    if beside is not None:
        strip(grid[1][-1], beside, hollow=True)
        grid[1][-1].set_xlabel("depth (hollow: a conv net of a follow-up)")
    rows, alone = [row[: len(columns)] for row in grid], columns if apart else ()
    _share(rows[0], curves, top, by, alone)
    if beside is None:
        _level(rows[1])
    grid[0][0].set_ylabel(f"log loss, {loss}")
    grid[1][0].set_ylabel("optimum, drift in\noctaves/doubling")
    depths = set(curves["depth"])
    if paper:
        _share(rows[2], paper.curves, paper.top, by, alone)
        grid[2][0].set_ylabel("log loss")
        _overhang(rows[2], paper.caption)
        depths |= set(paper.curves["depth"])
    if reached:
        _reached([row[-1] for row in grid], reached, by)
    widths = sorted(curves["width"].unique()) if "width" in curves else []
    keys = size_handles(sorted(depths), widths)
    figure.legend(
        handles=keys,
        loc="outside upper center",
        ncols=len(keys),
        title="depth (dark = deep) and width" if widths else "depth (dark = deep)",
        frameon=False,
        handlelength=1.6,
        columnspacing=1.0,
        handletextpad=0.4,
    )
    return figure


def _reached(column: Sequence[Axes], tables: Sequence[pd.DataFrame], by: str) -> None:
    """Best losses against depth beside the curves they come from: ours above, the paper's own
    at the foot; the panel between stays empty."""
    for axes, best in zip((column[0], column[-1]), tables, strict=False):
        low, high = axes.get_ylim()
        depth_losses(axes, best, hollow=axes is column[-1], by=by)
        axes.set_xlabel("depth")
        axes.set_ylim(min(low, best["log_loss"].min() - 0.1 * (high - low)), high)
    column[0].set_title("best loss")
    column[1].set_visible(False)


def _drift(found: Found, optima: pd.DataFrame, x: str, then: str = ", ") -> str:
    """A drift in words, with the sizes whose optima it rests on."""
    sizes = optima.loc[~optima["flag"].isin(UNSURE), x]
    if (optima["flag"] == "lost").all():
        return "no loss below chance"
    return f"{in_words(found, unit='')}{then}{sizes.min()}–{sizes.max()}" if len(sizes) else ""


def _of(table: pd.DataFrame, rules: str, by: str = "rules") -> pd.DataFrame:
    return table[table[by] == rules]


def _overhang(row: Sequence[Axes], words: str) -> None:
    """A caption over a row that is longer than its first panel is wide: the row makes room
    for its height, the panel's width does not follow it."""
    for axes in row:
        axes.set_title(" ", fontsize=7.5)
    row[0].annotate(
        words,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        fontsize=7.5,
        color="0.25",
        in_layout=False,
    )


def _level(row: Sequence[Axes]) -> None:
    """The same axes for a row of strips, so that slopes can be compared."""
    ends, sizes = [axes.get_ylim() for axes in row], [axes.get_xlim() for axes in row]
    for axes in row:
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
        axes.set_xlim(min(left for left, _ in sizes), max(right for _, right in sizes))


def _share(
    row: Sequence[Axes],
    curves: pd.DataFrame,
    top: float,
    by: str = "rules",
    alone: Sequence[str] = (),
) -> None:
    """The same axes for a row of panels: all rates, and losses from the lowest to `top`; where
    `alone` names the panels (values of `by`), from the lowest of every panel's own."""
    row = [axes for axes in row if axes.get_visible()]
    ends = [axes.get_xlim() for axes in row]
    own = [_of(curves, name, by) for name in alone] or [curves] * len(row)
    for axes, table in zip(row, own, strict=True):
        shown = table.loc[table["log_loss"] < top, "log_loss"]
        low = shown.min() if len(shown) else top - 1
        axes.set_xlim(min(left for left, _ in ends), max(right for _, right in ends))
        axes.set_ylim(low - 0.08 * (top - low), top)


@styled
def losses(ours: Mapping[str, pd.DataFrame], paper: tuple[str, pd.DataFrame]) -> Figure:
    """The best log loss against depth by nonlinearity: a panel per task, ours, and the
    paper's own curves in the last, on their own scale. `ours` maps titles to tables."""
    figure = Figure(figsize=(PAGE, 3.9), layout="constrained")
    flat = figure.subplots(2, 3).flatten()
    for axes, (title, best) in zip(flat, ours.items(), strict=False):
        depth_losses(axes, best)
        axes.set_title(title)
        axes.set_xlabel("depth")
    flat[len(ours)].set_title(paper[0])
    depth_losses(flat[len(ours)], paper[1], hollow=True)
    flat[len(ours)].set_xlabel("depth")
    for axes in (flat[0], flat[3]):
        axes.set_ylabel("best log loss")
    for axes in flat[len(ours) + 1 :]:
        axes.set_visible(False)
    return figure


class Arm(NamedTuple):
    """How one kind of network of the law's figure is named and coloured, and which of its
    points carries the name."""

    label: str
    colour: str
    at: int = -1


ARMS = {
    "one step, Gaussian": Arm("Gaussian", "#332288"),
    "one step, digits": Arm("digits", "0.45", at=4),
    "chain": Arm("chain", "#332288"),
    "chain, ends frozen": Arm("chain, ends frozen", "0.45", at=0),
    "chain, last fifth": Arm("", "#332288"),
    "formula (FD), 3 to 24": Arm("", "black"),
    "residual, variance": Arm("residual,\nvariance", "#AA4499"),
    "residual, multiplier": Arm("residual,\nmultiplier", "#117733"),
}
THEORY = {-1.5: "−3/2", -1.0: "−1", 0.0: "0"}


@styled
def effective_depth(
    one_step: Mapping[str, pd.DataFrame],
    formula: pd.DataFrame,
    trained: Mapping[str, pd.DataFrame],
    found: Mapping[str, Found],
    paper: pd.DataFrame,
) -> Figure:
    """The law: measured one-step rates with the finite-depth formula and its asymptote
    (`formula`, made by law.formula), trained optima, and all exponents with the paper's
    beside them. The tables of optima and the exponents are named as in ARMS; `paper` has
    columns arch, data, exponent."""
    figure = Figure(figsize=(PAGE, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.1, 1.1])
    for axes, lines in ((left, one_step), (middle, trained)):
        for name, best in lines.items():
            arm = ARMS[name]
            power_law(axes, best, colour=arm.colour, label=arm.label, at=arm.at)
        axes.set_xlabel("depth")
        axes.margins(x=0.3)
    depths = list(formula["depth"])
    theory(left, depths, list(formula["three_halves"]), "depth^(−3/2)", at=0)
    theory(left, depths, list(formula["finite_depth"]), "formula (FD)", at=6)
    left.set_title("One step, no training")
    left.set_ylabel("rate that moves units by 1")
    middle.set_title("100 steps on digits")
    middle.set_ylabel("best learning rate")
    rows: list[tuple[str, Sequence[Any], str]] = [
        (name, [found[name]], arm.colour) for name, arm in ARMS.items() if name in found
    ]
    rows += [
        (f"reviews: {arch}", list(own["exponent"]), "0.35") for arch, own in paper.groupby("arch")
    ]
    exponents(right, rows)
    right.set_title("Exponents")
    for value in THEORY:
        right.axvline(value, color="black", linestyle="--", linewidth=0.8, zorder=0)
    right.set_xticks(list(THEORY), list(THEORY.values()))
    return figure
