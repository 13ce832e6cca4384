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
) -> Figure:
    """The transfer plot: a column per parametrization; above, log loss against the rate with
    optima marked and joined; below, the optimum against a size with its drift in words; the
    paper's own curves, where known, at the foot.

    `curves`, `best` and `drifts` hold a column or key `rules`; `beside` are optima
    measured elsewhere for the last column, drawn hollow in its lower panel."""
    heights = [2.0, 1.0, 1.35][: 3 if paper else 2]
    figure = Figure(figsize=(PAGE, 4.5 if paper else 3.5), layout="constrained")
    grid = figure.subplots(
        len(heights), len(columns), squeeze=False, height_ratios=heights, sharey="row"
    )
    for column, rules in enumerate(columns):
        upper, lower = grid[0][column], grid[1][column]
        mine, optima = _of(curves, rules), _of(best, rules)
        rate_curves(upper, mine, optima, top=top)
        upper.set_title(TITLES.get(rules, rules))
        upper.set_xlabel(BASE_RATE)
        strip(lower, optima, x=x)
        lower.set_title(_drift(drifts[rules], optima, x), fontsize=7.5, color="0.25")
        lower.set_xlabel(x)
        if paper:
            foot = grid[2][column]
            rate_curves(
                foot, _of(paper.curves, rules), _of(paper.best, rules), top=paper.top, hollow=True
            )
            foot.set_xlabel(paper.axis)
    if beside is not None:
        strip(grid[1][-1], beside, hollow=True)
        grid[1][-1].set_xlabel("depth (hollow: a conv net of a follow-up)")
    _share(grid[0], curves, top)
    grid[0][0].set_ylabel(f"log loss, {loss}")
    grid[1][0].set_ylabel("optimum, drift in\noctaves/doubling")
    depths = set(curves["depth"])
    if paper:
        _share(grid[2], paper.curves, paper.top)
        grid[2][0].set_ylabel("log loss")
        _overhang(grid[2], paper.caption)
        depths |= set(paper.curves["depth"])
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


def _drift(found: Found, optima: pd.DataFrame, x: str) -> str:
    """A drift in words, with the sizes whose optima it rests on."""
    sizes = optima.loc[~optima["flag"].isin(UNSURE), x]
    return f"{in_words(found, unit='')}, {sizes.min()}–{sizes.max()}" if len(sizes) else ""


def _of(table: pd.DataFrame, rules: str) -> pd.DataFrame:
    return table[table["rules"] == rules]


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


def _share(row: Sequence[Axes], curves: pd.DataFrame, top: float) -> None:
    """The same axes for a row of panels: all rates, and losses from the lowest to `top`."""
    ends = [axes.get_xlim() for axes in row]
    shown = curves.loc[curves["log_loss"] < top, "log_loss"]
    low = shown.min() if len(shown) else top - 1
    for axes in row:
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
