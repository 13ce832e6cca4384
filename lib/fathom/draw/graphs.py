"""A network as a row of its parts: blocks folded, the path of fewest units in colour."""

import math
from collections.abc import Sequence
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from fathom.draw.style import PAGE, styled

PATH, OTHER = "#D55E00", "0.55"
STEP = 0.54  # inches from part to part
ACROSS = int(PAGE / STEP) - 1
BELOW, FIRST, NEXT = 0.75, 0.55, 0.52  # heights in steps: of a row's foot, of branches
CLEAR = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
SHORT = {"convolution": "conv", "matrix": "linear", "concatenation": "concat"}


class DrawnPart(Protocol):
    """A part of a network, as depth.fold makes them."""

    @property
    def kind(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def branches(self) -> Sequence[tuple[int, str]]: ...
    @property
    def bypass(self) -> str: ...


class DrawnStretch(Protocol):
    """Parts that are repeated, as depth.fold makes them."""

    @property
    def parts(self) -> Sequence[DrawnPart]: ...
    @property
    def times(self) -> int: ...


@styled
def network(stretches: Sequence[DrawnStretch], title: str = "") -> Figure:
    """The parts from left to right, in rows where they are many. On the path that decides the
    effective depth, filled marks count one each; above it stand the branches that it bypasses,
    with their layers one after another; stem and read-out are hollow. A bracket below says
    how often its parts are repeated."""
    rows = _rows(stretches)
    wide = max(sum(len(one.parts) for one in row) for row in rows) + 1
    most = max(len(part.branches) for one in stretches for part in one.parts)
    top = FIRST + NEXT * max(most, 1)
    size = (max(wide * STEP, 2.0), len(rows) * (BELOW + top) * STEP + (0.3 if title else 0.05))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for place, (one, row) in enumerate(zip(axes, rows, strict=True)):
        one.set_aspect("equal")
        one.set_axis_off()
        one.set(xlim=(-0.7, wide - 0.2), ylim=(-BELOW, top))
        _row(one, row, first=place == 0, last=place == len(rows) - 1)
    if title:
        axes[0].set_title(title)
    return figure


def _rows(stretches: Sequence[DrawnStretch]) -> list[list[DrawnStretch]]:
    """Stretches in rows of like length, of about ACROSS parts at most; no block is cut."""
    lengths = [len(one.parts) for one in stretches]
    full = sum(lengths) / math.ceil(sum(lengths) / ACROSS)
    rows: list[list[DrawnStretch]] = [[]]
    for one in stretches:
        if rows[-1] and sum(len(part.parts) for part in (*rows[-1], one)) > full + 0.5:
            rows.append([])
        rows[-1].append(one)
    return rows


def _row(axes: Axes, row: Sequence[DrawnStretch], *, first: bool, last: bool) -> None:
    at = 0
    end = sum(len(one.parts) for one in row)
    axes.plot([-0.6, end - 0.4], [0, 0], color=PATH, linewidth=2, zorder=1, solid_capstyle="butt")
    axes.text(-0.65, 0.07, "x" if first else "...", ha="left", va="bottom", color="0.25")
    axes.annotate(
        "", (end - 0.2, 0), (end - 0.45, 0), arrowprops={"color": PATH, "arrowstyle": "->"}
    )
    if last:
        axes.text(end - 0.2, 0.07, "f", ha="right", va="bottom", color="0.25")
    for stretch in row:
        for part in stretch.parts:
            _part(axes, at, part)
            at += 1
        if stretch.times > 1:
            left, right = at - len(stretch.parts) - 0.42, at - 0.58
            axes.plot(
                [left, left, right, right], [-0.4, -0.46, -0.46, -0.4], color="0.25", linewidth=0.8
            )
            middle = (left + right) / 2
            axes.text(middle, -0.5, f"× {stretch.times}", ha="center", va="top", fontweight="bold")


def _part(axes: Axes, at: float, part: DrawnPart) -> None:
    """One part at a place of the row."""
    colour = PATH if part.role == "counted" else OTHER
    if part.bypass or part.branches:
        for place, (layers, what) in enumerate(part.branches):
            _branch(axes, at, FIRST + NEXT * place, layers, what)
        face = colour if part.bypass else "white"
        axes.add_patch(Circle((at + 0.2, 0), 0.12, facecolor=face, edgecolor=colour, zorder=3))
        mark = {"addition": "+", "product": "×", "concatenation": "‖"}.get(part.kind, "")
        ink = "white" if part.bypass else "0.25"
        axes.text(at + 0.2, -0.01, mark, ha="center", va="center", color=ink, zorder=4)
        if part.bypass == "projection":
            _box(axes, at - 0.18, 0, 0.13, 0.13, OTHER, hollow=True)
        return
    hollow = part.role != "counted"
    _box(axes, at, 0, 0.3, 0.42, colour, hollow=hollow)
    name = part.role if hollow and part.role else SHORT.get(part.kind, part.kind)
    axes.text(at, -0.25, name, ha="center", va="top", fontsize=6.5, color="0.25")


def _branch(axes: Axes, at: float, height: float, layers: int, what: str) -> None:
    """A branch above the path, from the fork on its left to the merge on its right."""
    left, right, top = at - 0.36, at + 0.2, height
    axes.plot([left, left, right, right], [0, top, top, 0], color=OTHER, linewidth=1, zorder=0)
    _box(axes, (left + right) / 2, top, 0.34, 0.26, OTHER, hollow=True)
    axes.text((left + right) / 2, top - 0.01, str(layers), ha="center", va="center", zorder=4)
    if what:
        axes.text(
            (left + right) / 2, top + 0.16, what, ha="center", va="bottom", fontsize=6, bbox=CLEAR
        )


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, colour: str, *, hollow: bool
) -> None:
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.05",
        facecolor="white" if hollow else colour,
        edgecolor=colour,
        linewidth=1,
        zorder=3,
    )
    axes.add_patch(box)
