"""Figures of the effective-depth law: rates against depth, exponents beside them, regrets."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from fathom.draw.panels import exponents, power_law
from fathom.draw.style import PAGE, styled

HUES = {
    "chain": "#332288",
    "convolutions": "#117733",
    "residual": "#AA4499",
    "multiplier": "#44AA99",
    "authors": "#CC6677",
    "transformer": "#B8A020",
    "text": "#882255",
    "sgd": "#0072B2",
    "adam": "#D55E00",
    "grey": "0.45",
}
EXPONENTS = {-1.5: "−3/2", -1.0: "−1", -0.5: "−1/2", 0.0: "0"}
RULES = {
    "constant": "keep the rate",
    "inverse": "1/depth",
    "three_halves": "depth^(−3/2)",
    "finite_depth": "formula (FD)",
    "fitted": "own fit",
    "all_paths": "all paths",
}
ARMS = {  # rules and matrices in a branch
    ("am_mup", 1): "weights/√L",
    ("depth_mup", 1): "branch 1/√L",
    ("ode", 1): "branch 1/L",
    ("am_mup", 2): "2 matrices, each/√L",
    ("init(0, 0.5)", 2): "2 matrices, last/√L",
    ("init(0.25, 0.25)", 2): "2 matrices, each/L^(1/4)",
    ("depth_mup", 2): "2 matrices, branch 1/√L",
    ("ode", 2): "2 matrices, branch 1/L",
}
ROOM = 0.025  # on the left of names of rows, as a share of the page
TRAINED, FROZEN, ALL = "trained", "ends frozen", "one step, all"
MARKERS = {FROZEN: "D", ALL: "^"}
FAMILIES = {"resconv": "conv., ", "vit": "ViT, "}
LEAST = 0.075  # between two names, as a share of the axis
WARM = "#CC6677"
WORST = 0.2  # log loss: the regret whose colour is the darkest


class Rates(NamedTuple):
    """Optima against depth, as law.summary makes them, with the name and the hue of their line,
    and which of its points carries the name."""

    label: str
    hue: str
    best: pd.DataFrame
    at: int = -1


class Chart(NamedTuple):
    """One pair of axes: its title, lines, and theories (a label, or the name of a
    rule, and a table with columns depth and value, base-2 logarithms)."""

    title: str
    lines: Sequence[Rates]
    theories: Mapping[str, pd.DataFrame] = {}


class Row(NamedTuple):
    """One row of a list of exponents: a name, what was found (intervals, or a paper's plain
    numbers, drawn hollow), and a hue."""

    label: str
    found: Sequence[Any]
    hue: str


@styled
def power_laws(
    charts: Sequence[Chart],
    rows: Sequence[Row],
    *,
    title: str = "Exponents",
    expected: Mapping[float, str] = EXPONENTS,
    y: str = "best learning rate",
) -> Figure:
    """Panels of rates against depth, both as powers of two, up to three beside one another, and
    after them a list of exponents with the values that theory knows dashed."""
    across, tall = min(3, len(charts) + 1), 0.17 * len(rows) + 0.7
    own_row = len(charts) % across == 0
    down = len(charts) // across + 1
    heights = [1.9] * (down - 1) + [max(tall, 1.0 if own_row else 1.9)]
    figure = _page(sum(heights) + 0.3)
    grid = figure.add_gridspec(down, across, height_ratios=heights)
    for number, chart in enumerate(charts):
        axes = figure.add_subplot(grid[number // across, number % across])
        _chart(axes, chart)
        if number % across == 0:
            axes.set_ylabel(y)
    last = figure.add_subplot(grid[-1, :] if own_row else grid[-1, len(charts) % across :])
    listed(last, rows, title, expected)
    return figure


def listed(
    axes: Axes, rows: Sequence[Row], title: str, expected: Mapping[float, str] = EXPONENTS
) -> None:
    """A list of exponents with the values that theory knows dashed."""
    exponents(axes, [(one.label, one.found, HUES[one.hue]) for one in rows])
    axes.set_title(title)
    for value in expected:
        axes.axvline(value, color="black", linestyle="--", linewidth=0.8, zorder=0)
    axes.set_xticks(list(expected), list(expected.values()))


def _chart(axes: Axes, chart: Chart) -> None:
    for line in chart.lines:
        label = line.label if line.at >= 0 else ""
        power_law(axes, line.best, colour=HUES[line.hue], label=label, at=line.at)
    _name_ends(axes, [line for line in chart.lines if line.at < 0])
    deepest = max((curve["depth"].max() for curve in chart.theories.values()), default=0)
    for place, (label, curve) in enumerate(chart.theories.items()):
        curve = curve.sort_values("depth")
        places = [math.log2(depth) for depth in curve["depth"]]
        values = list(curve["value"])
        axes.plot(places, values, color="black", linestyle="--", linewidth=1, zorder=6)
        end, name, shift = (places[-1], values[-1]), RULES.get(label, label), (4, 4 - 9 * place)
        side = "left"
        if curve["depth"].max() < deepest:  # on the side where no other goes on
            shift, side = (-4, 0), "right"
        axes.annotate(name, end, xytext=shift, textcoords="offset points", ha=side)
    axes.margins(x=0.28)
    axes.set_title(chart.title)
    axes.set_xlabel("depth")


def arms(found: pd.DataFrame) -> list[str]:
    """The names of the arms of a table with columns family, rules and block_depth."""
    rows = found[["family", "rules", "block_depth"]].itertuples(index=False, name=None)
    return [
        "chain" if own == "mlp" else FAMILIES.get(own, "") + ARMS[(rules, deep)]
        for own, rules, deep in rows
    ]


def _name_ends(axes: Axes, lines: Sequence[Rates]) -> None:
    """The names of lines right of their last points, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = []
    for line in lines:
        known = line.best[line.best["optimum"].notna()].sort_values("depth")
        last = math.log2(known["depth"].iloc[-1]), float(known["optimum"].iloc[-1])
        ends.append((last[1], last[0], line))
    ends.sort(key=lambda end: end[0])
    place = -math.inf
    for height, across, line in ends:
        place = max(height, place + LEAST * (high - low))
        where: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(line.label, (across, place), color=HUES[line.hue], **where)


@styled
def exponent_map(found: pd.DataFrame, chain: str) -> Figure:
    """Exponents of the rate in depth, predicted against measured: on the left all of them beside
    the diagonal, on the right arm by arm. Columns: arm, kind (sgd, adam), how (one step; one step,
    all; trained; ends frozen), predicted, value, low, high; arms in the order of the table; `chain`
    is the one without branches.

    Filled: one step (of all layers a triangle); hollow: trained. The prediction is a black bar."""
    figure = Figure(figsize=(PAGE, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    arms = list(dict.fromkeys(found["arm"]))
    for _, one in found.iterrows():
        colour, trained = HUES[one["kind"]], one["how"] in (TRAINED, FROZEN)
        shift = (0.022 if one["kind"] == "sgd" else -0.022) + (0.045 if trained else 0.0)
        look: dict[str, Any] = {
            "marker": "s" if one["arm"] == chain else MARKERS.get(one["how"], "o"),
            "color": colour,
            "markersize": 4,
            "markerfacecolor": "white" if trained else colour,
        }
        ends = [one["low"], one["high"]]
        left.plot([one["predicted"] + shift] * 2, ends, color=colour, linewidth=0.8)
        left.plot(one["predicted"] + shift, one["value"], **look)
        place = arms.index(one["arm"]) + (-0.17 if one["kind"] == "sgd" else 0.17)
        right.plot(ends, [place, place], color=colour, linewidth=0.8)
        right.plot(one["value"], place, **look)
        bar = [place - 0.16, place + 0.16]
        right.plot([one["predicted"]] * 2, bar, color="black", linewidth=1.2, zorder=1)
    span = [found["predicted"].min() - 0.15, found["predicted"].max() + 0.2]
    left.plot(span, span, color="black", linestyle="--", linewidth=1, zorder=0)
    left.set_title("Measured against predicted")
    left.set_xlabel("predicted exponent of the rate in depth")
    left.set_ylabel("measured exponent")
    right.set_yticks(range(len(arms)), arms)
    right.set_ylim(len(arms) - 0.5, -0.5)
    right.spines["left"].set_visible(False)
    right.tick_params(axis="y", length=0)
    right.set_title("Arm by arm (bar: predicted)")
    right.set_xlabel("exponent of the rate in depth")
    keys = [
        Line2D([], [], color=HUES["sgd"], marker="o", linestyle="", markersize=4, label="SGD"),
        Line2D([], [], color=HUES["adam"], marker="o", linestyle="", markersize=4, label="Adam"),
        Line2D([], [], color="0.3", marker="o", linestyle="", markersize=4, label="one step"),
        Line2D([], [], color="0.3", marker="^", linestyle="", markersize=4, label=ALL),
        Line2D([], [], color="0.3", marker="o", mfc="white", linestyle="", ms=4, label=TRAINED),
        Line2D([], [], color="0.3", marker="D", mfc="white", linestyle="", ms=4, label=FROZEN),
        Line2D([], [], color="0.3", marker="s", linestyle="", markersize=4, label="chain"),
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False)
    return figure


@styled
def regrets(tables: Mapping[str, pd.DataFrame], *, worst: float = WORST) -> Figure:
    """What carrying a rate deeper costs in log loss: a row per kind of network, a column per rule,
    the darker the dearer, the cheapest framed. Columns of each table: prediction, value. A cross
    stands where a run diverges or the rate left the grid; what was not measured is empty."""
    rules = [
        name for name in RULES if any(name in set(one["prediction"]) for one in tables.values())
    ]
    figure = _page(0.235 * len(tables) + 0.55)
    axes = figure.subplots()
    palette = sns.light_palette(WARM, as_cmap=True)
    for row, table in enumerate(tables.values()):
        costs = dict(zip(table["prediction"], table["value"], strict=True))
        known = {name: cost for name, cost in costs.items() if math.isfinite(cost)}
        for column, name in enumerate(rules):
            if name not in costs:
                continue
            cost = costs[name]
            seen = name in known
            share = min(cost / worst, 1.0) if seen else 1.0
            best = seen and cost == min(known.values())
            corner, edge = (column - 0.48, row - 0.45), "black" if best else "none"
            box: dict[str, Any] = {"facecolor": palette(0.75 * max(share, 0.0)), "edgecolor": edge}
            axes.add_patch(Rectangle(corner, 0.96, 0.9, linewidth=1, **box))
            word = f"{cost:.3f}" if seen else "×"
            axes.text(column, row, word, ha="center", va="center", fontsize=7.5)
    axes.set_xlim(-0.5, len(rules) - 0.5)
    axes.set_ylim(len(tables) - 0.5, -0.5)
    axes.set_xticks(range(len(rules)), [RULES[name] for name in rules])
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(tables)), list(tables))
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def _page(height: float) -> Figure:
    """A page with room on its left for the names of rows."""
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    figure.set_layout_engine("constrained", rect=(ROOM, 0, 1 - ROOM, 1))
    return figure


WAYS = {
    "first": "one sweep, no choice",
    "until_inside": "repeat until in −1.5 ± 0.1, at most 10",
    "nearest": "of 10 sweeps the nearest to −1.5",
    "one_more": "depth counted by one too many",
    "one_less": "depth counted by one too few",
    "floor": "grid ends 1/2 octave above the lowest",
    "ceiling": "grid ends 1/2 octave below the highest",
}


@styled
def hazards(table: pd.DataFrame) -> Figure:
    """What ways of choosing sweeps find where the exponent is known: a panel per true exponent,
    95 % of repetitions as a bar, the share that reports -1.5 +- 0.1 in words."""
    truths = sorted(table["truth"].unique(), reverse=True)
    figure = _page(2.7)
    for axes, truth in zip(figure.subplots(1, len(truths), sharey=True), truths, strict=True):
        axes.axvspan(-1.6, -1.4, color="0.9", linewidth=0)
        axes.axvline(truth, color="black", linestyle="--", linewidth=1)
        for place, way in enumerate(WAYS):
            one = table[(table["truth"] == truth) & (table["way"] == way)].iloc[0]
            colour = "#882255" if abs(one["exponent"] - truth) > 0.05 else "0.35"
            axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=1)
            axes.plot(one["exponent"], place, "o", color=colour, markersize=4)
            axes.annotate(
                f"{100 * one['inside']:.0f} %",
                (1.0, place),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=7,
                color="0.25",
            )
        axes.set_yticks(range(len(WAYS)), list(WAYS.values()))
        axes.set_ylim(len(WAYS) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"truth {truth:g}".replace("-", "−"))
        axes.set_xlabel("exponent reported")
        left, right = axes.get_xlim()
        axes.set_xlim(left, right + 0.3 * (right - left))
    return figure
