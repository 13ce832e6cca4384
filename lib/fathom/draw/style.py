"""Colours, sizes, type and words that every figure shares."""

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import matplotlib as mpl
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

PAGE = 6.8
TITLES = {
    "sp": "standard: branch 1, rate 1",
    "ntp": "neural tangent",
    "mup": "μP: branch 1",
    "ode": "ODE: branch 1/L",
    "depth_mup": "Depth-μP: branch 1/√L",
    "am_mup": "variance form: weights/√L",
    "alpha(0.5, 0)": "branch 1/√L, rate as is",
    "alpha(0.75, 0.25)": "between: 1/L⁰·⁷⁵",
    "post": "ReLU after the matrix",
    "pre": "ReLU before the matrix",
    "none": "abs, no norm",
    "layer": "abs behind a layer norm",
    "completep": "CompleteP: branch 1/L",
    "early": "first fifth of the steps",
    "second": "second fifth of the steps",
    "late": "last fifth of the steps",
}
PHI = {
    "relu": "#0072B2",
    "abs": "#D55E00",
    "tanh": "#009E73",
    "gelu": "#AA4499",
    "linear": "#666666",
    "erf": "#CC79A7",
    "softplus": "#999933",
}
PHI_NAMES = {name: name for name in PHI} | {"relu": "ReLU", "gelu": "GELU"}
KINDS = {**PHI, "post": "#0072B2", "pre": "#56B4E9", "none": "#D55E00", "layer": "#882255"}
KINDS |= {"batch": "#117733", "gains": "#999933"}  # norms; "gains": batch norm that has them
KIND_NAMES = {**PHI_NAMES, "post": "after", "pre": "before", "none": "no norm", "layer": "norm"}
LINES: dict[int, Any] = {
    8: (0, (2, 3)),
    16: "-",
    32: (0, (1, 1.2)),
    64: "-",
    128: (0, (5, 1.5)),
    256: (0, (6, 1.5, 1, 1.5)),
    1024: (0, (2, 3)),
}
SHALLOWEST, DEEPEST = 1.0, 10.0  # log2 of the depth
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "lines.linewidth": 1.2,
    "svg.hashsalt": "fathom",
    "svg.fonttype": "none",
    "figure.facecolor": "white",
}
P = ParamSpec("P")
T = TypeVar("T")


class Found(Protocol):
    """A value with its interval, as law makes them."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class Picture(NamedTuple):
    """A finished figure: its SVG, which Jupyter shows, and its alternative text."""

    svg: str
    alt: str

    def _repr_svg_(self) -> str:
        return self.svg


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function under the suite's style, leaving matplotlib's settings as they were."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)

    return inside


@styled
def picture(figure: Figure, alt: str) -> Picture:
    """A figure as SVG with text as text; the same figure gives the same bytes.

    The layout is a sum whose last bit depends on where in memory it is computed, and
    identifiers in the SVG are digests of it: positions are rounded before they are drawn."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(side, 5) for side in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))
    said = io.StringIO()
    figure.savefig(said, format="svg", metadata={"Date": None, "Description": alt})
    return Picture(said.getvalue(), alt)


def depth_colour(depth: float) -> tuple[float, float, float]:
    """The colour of a depth: log2 L on a sequential palette over the suite's whole range."""
    share = (math.log2(depth) - SHALLOWEST) / (DEEPEST - SHALLOWEST)
    palette = sns.color_palette("mako_r", as_cmap=True)
    red, green, blue, _ = palette(0.15 + 0.83 * min(max(share, 0.0), 1.0))
    return float(red), float(green), float(blue)


def power_of_two(value: float, _: object = None) -> str:
    """A tick label: 2 to a power, for an axis that holds the power."""
    shown = f"{value:g}".replace("-", "−")
    return "2" + shown.translate(str.maketrans("0123456789−.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·"))


class _Powers(MaxNLocator):
    """Whole powers; on an axis too short for two of them, halves or quarters."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        short = abs(vmax - vmin)
        if math.floor(max(vmin, vmax)) - math.ceil(min(vmin, vmax)) >= 1:
            return super().tick_values(vmin, vmax)
        return MultipleLocator(0.25 if short < 0.75 else 0.5).tick_values(vmin, vmax)


def powers_of_two(axis: Axis, most: int = 6) -> None:
    """Label an axis that holds base-2 logarithms with the powers themselves."""
    axis.set_major_locator(_Powers(most, integer=True))
    axis.set_major_formatter(FuncFormatter(power_of_two))


def in_words(found: Found, name: str = "drift", unit: str = "octaves per doubling") -> str:
    """An interval in words: drift −0.02 [−0.06, +0.03] octaves per doubling."""
    if not math.isfinite(found.value):
        return f"{name} not measurable"
    said = f"{name} {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return f"{said} {unit}".strip().replace("-", "−")
