"""Planes and power laws: nothing measured is hidden, theory is dashed, a paper's own hollow."""

import math

import numpy as np
import pandas as pd
import pytest
from fathom import draw
from fathom.draw.lines import PHASES
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INF = float("inf")
LOOKS = {"a": draw.Look("one", "relu"), "b": draw.Look("two", "abs", hollow=True)}


def axes() -> Axes:
    return Figure().subplots()


@pytest.fixture
def lines() -> pd.DataFrame:
    rows = [("a", 4, 1.0), ("a", 8, 2.0), ("b", 4, 1.0), ("b", 8, 2.0)]
    table = pd.DataFrame(rows, columns=["rules", "depth", "value"])
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1)


@pytest.fixture
def points() -> pd.DataFrame:
    rows = [
        {"alpha": 0.5, "total": 1.0, "phase": "diverse", "sure": True, "theory": "diverse"},
        {"alpha": 1.0, "total": 1.0, "phase": "trivial", "sure": False, "theory": "redundant"},
    ]
    return pd.DataFrame(rows).assign(stream_move=-0.3)


def panel(lines: pd.DataFrame, **more: object) -> draw.Panel:
    given = {"title": "t", "x": "depth", "y": "size", "by": "rules", "along": "depth", **more}
    return draw.Panel(lines=lines, looks=LOOKS, **given)  # pyright: ignore[reportArgumentType]


def dots(where: Axes, marker: str) -> list[list[float]]:
    drawn = [line for line in where.lines if line.get_marker() == marker]
    return [[float(x) for x in np.ravel(np.asarray(line.get_data()))] for line in drawn]


def maps(losses: list[list[float]], flag: str = "") -> draw.Maps:
    """Two multipliers by three rates."""
    rows = [
        {"layers": 4, "log2_gain": gain, "log2_lr": rate, "log_loss": loss}
        for gain, row in zip((0, 1), losses, strict=True)
        for rate, loss in zip((-3, -2, -1), row, strict=True)
    ]
    best = pd.DataFrame({"layers": 4, "log2_gain": [0, 1], "optimum": [-2.0, -1.5], "flag": flag})
    return draw.Maps("row", "rate", pd.DataFrame(rows), best, {4: "4 layers"})


def test_a_line_is_named_at_its_end_and_a_papers_own_is_hollow(lines: pd.DataFrame) -> None:
    where = axes()
    draw.power_lines(where, panel(lines))
    assert {text.get_text() for text in where.texts} == {"one", "two"}
    faces = [line.get_markerfacecolor() for line in where.lines if line.get_marker() == "o"]
    assert faces.count("white") == 2
    assert len(faces) == 4


def test_names_of_lines_that_end_together_stand_apart(lines: pd.DataFrame) -> None:
    where = axes()
    draw.power_lines(where, panel(lines))
    low, high = where.get_ylim()
    first, second = sorted(text.xy[1] for text in where.texts)  # pyright: ignore[reportAttributeAccessIssue]
    assert second - first == pytest.approx(0.1 * (high - low))
    assert second <= high


def test_what_is_infinite_is_a_cross_on_the_upper_edge(lines: pd.DataFrame) -> None:
    where = axes()
    draw.power_lines(where, panel(lines))
    assert not dots(where, "x")
    lines.loc[1, ["value", "low", "high"]] = INF
    draw.power_lines(where, panel(lines))
    assert dots(where, "x") == [[3.0, 1.0]]


def test_theory_is_black_dashed_and_on_top(lines: pd.DataFrame) -> None:
    where = axes()
    guide = pd.DataFrame({"label": "slope 1", "depth": [4, 8], "value": [0.0, 1.0]})
    draw.power_lines(where, panel(lines, guides=guide))
    (dashed,) = [line for line in where.lines if line.get_linestyle() == "--"]
    assert dashed.get_color() == "black"
    assert dashed.get_zorder() == max(line.get_zorder() for line in where.lines)
    assert "slope 1" in {text.get_text() for text in where.texts}


def test_a_base_two_logarithm_is_not_taken_twice(lines: pd.DataFrame) -> None:
    where = axes()
    far = lines.assign(log2_epsilon=-lines["depth"])
    draw.power_lines(where, panel(far, along="log2_epsilon"))
    assert {x for x, _ in dots(where, "o")} == {-4.0, -8.0}


def test_places_that_are_no_sizes_stand_where_they_are_with_labels_of_their_own(
    lines: pd.DataFrame,
) -> None:
    where = axes()
    near = lines.assign(place=lines["depth"] / 8)
    draw.power_lines(where, panel(near, along="place", ticks={0: "0", 1: "all"}))
    assert {x for x, _ in dots(where, "o")} == {0.5, 1.0}
    assert [text.get_text() for text in where.get_xticklabels()] == ["0", "all"]


def test_a_look_without_a_line_is_points_alone(lines: pd.DataFrame) -> None:
    where = axes()
    looks = {name: look._replace(line="") for name, look in LOOKS.items()}
    draw.power_lines(where, panel(lines)._replace(looks=looks))
    assert dots(where, "o")
    long = [line for line in where.lines if np.ptp(np.asarray(line.get_xdata(), float)) > 0]
    assert {line.get_linestyle() for line in long} == {"None"}


def test_rows_that_are_alike_share_their_axis_and_others_do_not(lines: pd.DataFrame) -> None:
    high = lines.assign(value=lines["value"] + 9)
    row = [panel(lines), panel(high)]
    figure = draw.panels([row, row], height=4, alike=[0])
    first, second, third, fourth = (one.get_ylim() for one in figure.axes)
    assert first == second
    assert third != fourth


def test_a_point_the_theory_gets_wrong_is_ringed_and_an_unsure_one_hollow(
    points: pd.DataFrame,
) -> None:
    where = axes()
    draw.phase_plane(where, points)
    assert dots(where, "o") == [[1.0, 1.0]]
    (star,) = [line for line in where.lines if line.get_marker() == "*"]
    (down,) = [line for line in where.lines if line.get_marker() == "v"]
    assert star.get_markerfacecolor() == PHASES["diverse"]
    assert down.get_markerfacecolor() == "white"
    right = axes()
    draw.phase_plane(right, points.assign(theory=points["phase"]))
    assert not dots(right, "o")


def test_the_plane_and_its_panels_are_one_figure(points: pd.DataFrame, lines: pd.DataFrame) -> None:
    before = dict(rcParams)
    figures = [draw.phases(points, "title", [panel(lines)] * 4) for _ in range(2)]
    assert len(figures[0].axes) == 5
    assert draw.picture(figures[0], "alt") == draw.picture(figures[1], "alt")
    assert dict(rcParams) == before


def test_cells_that_learned_nothing_and_cells_that_diverged_are_crossed() -> None:
    figure = draw.heat_maps([maps([[-1, -2, 0.5], [-1, 2.0, INF]])], height=2, top=0.8)
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    spots = [np.ravel(np.asarray(line.get_data())).tolist() for line in crosses]
    assert spots == [[-2, 1], [-1, 1]]
    small, large = (float(line.get_markersize()) for line in crosses)
    assert small < large
    fine = draw.heat_maps([maps([[-1, -2, 0.5], [-1, 0, 0]])], height=2, top=0.8)
    assert not dots(fine.axes[0], "x")


def test_the_ridge_is_marked_and_its_edges_are_hollow_carets() -> None:
    losses = [[-1.0, -2.0, 0.5], [-1.0, 0.0, 0.0]]
    sure = draw.heat_maps([maps(losses)], height=2, top=0.8).axes[0]
    assert dots(sure, "o") == [[-2, 0], [-1.5, 1]]
    edge = draw.heat_maps([maps(losses, "edge")], height=2, top=0.8).axes[0]
    assert not dots(edge, "o")
    assert len(dots(edge, "<")) == 2


def test_rows_of_maps_with_one_axis_name_it_once() -> None:
    row = maps([[-1.0, -2.0, 0.5], [-1.0, 0.0, 0.0]])
    other = row._replace(x="another")
    figure = draw.heat_maps([row, row, other], height=4, top=0.8)
    said = [where.get_xlabel() for where in figure.axes if where.get_title("left")]
    assert said == ["", "rate", "another"]


def test_a_look_is_a_phase_a_nonlinearity_a_depth_or_grey() -> None:
    colours = [draw.Look("", of).colour for of in ("trivial", "relu", 64, "other")]
    assert len(set(colours)) == 4
    assert draw.Look("", 64).colour == pytest.approx(draw.depth_colour(64))
    strong, weak = (sum(draw.Look("", "relu", share).colour) for share in (1.0, 0.4))
    assert strong < weak < 3
    assert math.isclose(sum(draw.Look("", "relu", 0.0).colour), 3)
