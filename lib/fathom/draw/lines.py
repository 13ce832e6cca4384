"""Lines over a size, both as powers of two: a straight line is a power law."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fathom.draw.panels import THICK, THIN, UNSURE, size_handles
from fathom.draw.style import KINDS, PAGE, depth_colour, power_of_two, powers_of_two, styled

PHASES = {
    "unstable at init": "#882255",
    "unstable in training": "#CC6677",
    "trivial": "#999999",
    "unfaithful": "#B8A020",
    "redundant": "#56B4E9",
    "diverse": "#117733",
}

LEAST = 0.1  # between the names of two lines, as a share of the axis


class Look(NamedTuple):
    """How a line looks: its label, what its colour stands for (a phase, a nonlinearity, a norm or
    a depth; anything else is grey), how strong the colour is, whether it is a paper's own
    (hollow and thin), and its line: "-", ":", or "" for points alone."""

    label: str
    of: str | int
    share: float = 1.0
    hollow: bool = False
    line: str = "-"

    @property
    def colour(self) -> tuple[float, float, float]:
        """The colour, mixed with white where its share is below one."""
        plain = depth_colour(self.of) if isinstance(self.of, int) else (PHASES | KINDS).get(self.of)
        red, green, blue = to_rgb(plain or "0.45")
        mixed = [1 - self.share * (1 - part) for part in (red, green, blue)]
        return mixed[0], mixed[1], mixed[2]


class Panel(NamedTuple):
    """Lines for one pair of axes: a table with columns `by` (which line), `along` (a size, or
    a base-2 logarithm where its name begins with log2), value, and perhaps low, high, flag;
    a look for every line; and a theory's lines with columns along, value and by, or
    label, which names them. `log`: values are base-2 logarithms, and labelled as powers of two.
    `ticks`: where `along` is no size, its places that are labelled, and how."""

    title: str
    x: str
    y: str
    lines: pd.DataFrame
    by: str
    along: str
    looks: Mapping[Any, Look]
    guides: pd.DataFrame | None = None
    log: bool = True
    ticks: Mapping[float, str] | None = None


@styled
def power_lines(axes: Axes, panel: Panel) -> None:
    """Measured lines with 95 % bars, named at their last point; theory black and dashed, drawn
    last. An infinite value is a small cross on the upper edge."""
    ends: list[tuple[float, float, Look]] = []
    for name, line in panel.lines.groupby(panel.by, sort=False):
        ends += _line(axes, line.sort_values(panel.along), panel, panel.looks[_plain(name)])
    _name_lines(axes, ends)
    if panel.guides is not None:
        by = "label" if "label" in panel.guides else panel.by
        lowest = panel.guides.sort_values("value")[by].iloc[0]
        for name, line in panel.guides.groupby(by, sort=False):
            label = str(name) if by == "label" else ""
            _guide(axes, line.sort_values(panel.along), panel, label, below=name == lowest)
    if panel.ticks is None:
        places = _places(panel.lines, panel)
        low, high = math.ceil(min(places)), math.floor(max(places))
        axes.set_xticks(range(low, high + 1, max(1, math.ceil((high - low) / 4))))
        axes.xaxis.set_major_formatter(power_of_two)
    else:
        axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
    if panel.log:
        powers_of_two(axes.yaxis, 5)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)


def _guide(axes: Axes, line: pd.DataFrame, panel: Panel, label: str, *, below: bool) -> None:
    """A theory's line, named at its end where it is level, else beside its second point."""
    places, values = _places(line, panel), list(line["value"])
    axes.plot(places, values, color="black", linestyle="--", linewidth=1, zorder=6)
    at, side, shift = (1, "left", (4, -6)) if below else (len(places) // 2, "right", (2, 8))
    if below and values[-1] < values[0]:
        at, side, shift = len(places) // 2, "right", (-4, -7)
    if values[0] == values[-1]:
        at, side, shift = -1, "left", (4, 0)
    where = {"xytext": shift, "textcoords": "offset points", "ha": side, "va": "center"}
    axes.annotate(label, (places[at], values[at]), zorder=7, **where)


def _plain(name: Hashable) -> Hashable:
    return name[0] if isinstance(name, tuple) else name


def _places(line: pd.DataFrame, panel: Panel) -> list[float]:
    if panel.ticks is not None or panel.along.startswith("log2"):
        return [float(place) for place in line[panel.along]]
    return [math.log2(size) for size in line[panel.along]]


def _line(
    axes: Axes, line: pd.DataFrame, panel: Panel, look: Look
) -> list[tuple[float, float, Look]]:
    """Draw one line; returns where its name belongs, if it has one."""
    places, colour = _places(line, panel), look.colour
    seen = line["value"].where(line["value"].abs() < math.inf)
    width = THIN if look.hollow else THICK
    axes.plot(places, seen, color=colour, linewidth=width, linestyle=look.line or "none")
    flags = line["flag"].isin(UNSURE) if "flag" in line else [False] * len(line)
    for place, (_, spot), edge in zip(places, line.iterrows(), flags, strict=True):
        if not math.isfinite(spot["value"]):
            crosses = {"transform": axes.get_xaxis_transform(), "clip_on": False}
            axes.plot(place, 1, "x", color=colour, markersize=3.5, **crosses)
            continue
        if "low" in line and math.isfinite(spot["low"]) and math.isfinite(spot["high"]):
            axes.plot([place, place], [spot["low"], spot["high"]], color=colour, linewidth=1)
        axes.plot(
            place,
            spot["value"],
            marker="v" if edge else "o",
            color=colour,
            markersize=3,
            markerfacecolor="white" if edge or look.hollow else colour,
        )
    there = [(x, y, look) for x, y in zip(places, seen, strict=True) if math.isfinite(y)]
    return there[-1:] if look.label else []


def _name_lines(axes: Axes, ends: Sequence[tuple[float, float, Look]]) -> None:
    """Names right of the lines' last points, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: end[1])
    places: list[float] = []
    for _, y, _ in ends:
        places.append(max(y, places[-1] + LEAST * (high - low)) if places else y)
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - LEAST * (high - low)
    for (x, _, look), place in zip(ends, places, strict=True):
        axes.annotate(
            look.label,
            (x, place),
            xytext=(5, 0),
            textcoords="offset points",
            color=look.colour,
            va="center",
            annotation_clip=False,
        )


@styled
def panels(
    rows: Sequence[Sequence[Panel]],
    *,
    height: float,
    alike: Sequence[int] = (),
    room: float = 0.1,
    depths: Sequence[int] = (),
    keys: Mapping[Any, Look] | None = None,
) -> Figure:
    """A page of panels in rows. The rows numbered in `alike` share their y axis; `room` is
    the share of each panel that is left free for labels to the right of its lines; `depths`
    are those whose colours a key on top explains, or `keys` the looks."""
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    grid = figure.subplots(len(rows), max(map(len, rows)), squeeze=False)
    for number, row in enumerate(rows):
        for column, axes in enumerate(grid[number]):
            axes.set_visible(column < len(row))
            if column < len(row):
                power_lines(axes, row[column])
                left, right = axes.get_xlim()
                axes.set_xlim(left, right + room * (right - left))
        if number in alike:
            ends = [axes.get_ylim() for axes in grid[number][: len(row)]]
            for axes in grid[number][: len(row)]:
                axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    if keys:
        shown = [Line2D([], [], color=look.colour, label=look.label) for look in keys.values()]
        figure.legend(handles=shown, loc="outside upper center", ncols=len(shown), frameon=False)
    if depths:
        figure.legend(
            handles=size_handles(depths),
            loc="outside upper center",
            ncols=len(depths),
            title="depth (dark = deep)",
            frameon=False,
            handlelength=1.6,
        )
    return figure
