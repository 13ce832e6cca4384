"""Pictures draw what they are given: depth is one colour everywhere, nothing is hidden."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from fathom import draw, law
from fathom.draw.transfer import Paper
from matplotlib import rcParams
from matplotlib.figure import Figure

INF = float("inf")


@pytest.fixture
def curves() -> pd.DataFrame:
    """Two depths under one parametrization; the deeper one diverges at the largest rate."""
    rows = [("mup", 4, -3, 1.0), ("mup", 4, -2, 0.5), ("mup", 4, -1, 0.8)]
    rows += [("mup", 8, -3, 0.7), ("mup", 8, -2, 0.4), ("mup", 8, -1, INF)]
    table = pd.DataFrame(rows, columns=["rules", "depth", "log2_lr", "log_loss"])
    return table.assign(low=table["log_loss"], high=table["log_loss"])


@pytest.fixture
def best() -> pd.DataFrame:
    row = {"rules": "mup", "low": -2.1, "high": -1.9, "log_loss": 0.4, "flag": ""}
    return pd.DataFrame([{**row, "depth": d, "optimum": -2.0} for d in (4, 8)])


def figure(curves: pd.DataFrame, best: pd.DataFrame, **more: object) -> Figure:
    drifts = {"mup": law.Interval(-0.5, -0.6, -0.4, 5)}
    given = {"columns": ["mup"], "top": 0.9, "loss": "all steps", **more}
    return draw.transfer(curves, best, drifts, **given)  # pyright: ignore[reportArgumentType]


def test_drawing_leaves_matplotlibs_settings_as_they_were(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    before = dict(rcParams)
    draw.picture(figure(curves, best), "alt")
    assert dict(rcParams) == before


def test_the_same_figure_gives_the_same_bytes(curves: pd.DataFrame, best: pd.DataFrame) -> None:
    first, second = (draw.picture(figure(curves, best), "alt") for _ in range(2))
    assert first == second
    assert "alt" in first.svg
    assert ">drift" in first.svg  # text stays text


def test_a_curve_that_diverges_ends_in_a_cross(curves: pd.DataFrame, best: pd.DataFrame) -> None:
    crosses = [line for line in figure(curves, best).axes[0].lines if line.get_marker() == "x"]
    spots = [np.asarray(cross.get_data()).tolist() for cross in crosses]
    assert spots == [[[-3], [0.9]], [[-1], [0.9]]]
    finite = curves[curves["log_loss"] < 0.9]
    none = [x for x in figure(finite, best).axes[0].lines if x.get_marker() == "x"]
    assert not none


def test_a_curve_breaks_where_it_leaves_the_panel_and_says_so(best: pd.DataFrame) -> None:
    rows = [("mup", 4, -4 + i, loss) for i, loss in enumerate([0.5, 0.4, 2.0, 3.0, 0.6])]
    table = pd.DataFrame(rows, columns=["rules", "depth", "log2_lr", "log_loss"])
    lines = figure(table.assign(low=0.1, high=0.2), best).axes[0].lines
    (curve,) = [line for line in lines if len(np.asarray(line.get_xdata())) == 5]
    assert np.isnan(np.asarray(curve.get_ydata(), dtype=float)).tolist() == [0, 0, 1, 1, 0]
    (crosses,) = [line for line in lines if line.get_marker() == "x"]
    assert np.asarray(crosses.get_data()).tolist() == [[-2, -1], [0.9, 0.9]]


def test_an_optimum_on_the_edge_is_hollow_and_a_sure_one_filled(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    best = best.assign(flag=["", "edge"])
    spots = [x for x in figure(curves, best).axes[0].lines if x.get_marker() in ("o", "<")]
    looks = {line.get_marker(): line.get_markerfacecolor() for line in spots}
    assert looks["<"] == "white"
    assert looks["o"] != "white"


def test_a_table_above_the_panel_is_drawn_as_crosses_alone(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    lost = curves.assign(log_loss=5.0, low=5.0, high=5.0)
    assert draw.picture(figure(lost, best.assign(log_loss=5.0)), "all lost").svg


def test_depth_has_one_colour_everywhere_and_dark_is_deep() -> None:
    light = [sum(draw.depth_colour(depth)) for depth in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)]
    assert light == sorted(light, reverse=True)
    assert len(set(light)) == len(light)


def test_the_papers_curves_stand_below_ours(curves: pd.DataFrame, best: pd.DataFrame) -> None:
    paper = Paper(curves, best, "paper: other data", 0.9, "rate")
    assert len(figure(curves, best, paper=paper).axes) == 3
    assert len(figure(curves, best).axes) == 2


def test_columns_may_be_what_the_caller_says_and_what_was_swept_too(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    said = {"rules": "order", "log2_lr": "log2_gain"}
    drifts = {"pre": law.Interval(0.0, -0.1, 0.1, 5)}
    named, optima = (one.rename(columns=said).assign(order="pre") for one in (curves, best))
    given = {"columns": ["pre"], "by": "order", "over": "log2_gain", "loss": "", "top": 0.9}
    found = draw.transfer(named, optima, drifts, axis="multiplier", reached=[optima] * 2, **given)
    assert [axes.get_visible() for axes in found.axes] == [True, True, True, False]
    assert found.axes[0].get_xlabel() == "multiplier"
    assert found.axes[0].get_title(loc="left") == "ReLU before the matrix"


def test_apart_every_column_has_a_scale_of_loss_of_its_own(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    both = law.together({"early": curves, "late": curves.assign(log_loss=0.8)}, "slice")
    still = law.Interval(0.0, -0.1, 0.1, 5)
    drifts = {"early": still, "late": still}
    given = {"columns": list(drifts), "by": "slice", "loss": "", "top": 0.9}
    optima = law.together(dict.fromkeys(drifts, best), "slice")
    for apart in (True, False):
        early, late = draw.transfer(both, optima, drifts, apart=apart, **given).axes[:2]
        assert (early.get_ylim() != late.get_ylim()) is apart
        assert early.get_xlim() == late.get_xlim()


def test_a_column_the_paper_does_not_show_stays_empty_at_the_foot(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    paper = Paper(curves.assign(rules="ode"), best, "paper: other data", 0.9, "rate")
    assert not figure(curves, best, paper=paper).axes[2].get_visible()


def test_where_every_optimum_is_lost_no_drift_is_told(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    strip = figure(curves, best.assign(flag="lost")).axes[1]
    assert strip.get_title(loc="left") == "no loss below chance"


def test_kinks_are_points_other_nonlinearities_levels_and_theory_is_dashed() -> None:
    rows = [("abs", -1.0), ("relu", 0.0), ("tanh", np.nan)]
    table = pd.DataFrame(rows, columns=["phi", "left"]).assign(value=0.5, low=0.4, high=0.6)
    best = table.assign(log_loss=0.5, loss_low=0.4, loss_high=0.6, flag=["edge", "", ""])
    paper = best[["phi", "left", "log_loss"]].iloc[:2]
    theory = {-1.0: 0.0, 0.0: 0.5, 1.0: 1.0}
    ours, _, why = draw.kinks(best, table, theory, ("paper", paper)).axes
    markers = [line.get_marker() for line in ours.lines if len(np.asarray(line.get_xdata())) == 1]
    assert markers == ["v", "o"]
    assert [line.get_linestyle() for line in ours.lines].count(":") == 1
    (dashed,) = [line for line in why.lines if line.get_linestyle() == "--"]
    assert dict(zip(*np.asarray(dashed.get_data()).tolist(), strict=True)) == theory


def test_intervals_in_words_keep_their_signs() -> None:
    assert draw.in_words(law.Interval(-0.5, -0.6, 0.4, 5), unit="") == "drift −0.50 [−0.60, +0.40]"
    assert "not measurable" in draw.in_words(law.Interval(float("nan"), -INF, INF, 5))


def test_drawing_needs_no_torch() -> None:
    loaded = "import sys; import fathom.draw, fathom.law, fathom.store"
    code = f"{loaded}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hyperparameters_share_one_axis_of_loss_and_keep_their_ticks(
    curves: pd.DataFrame, best: pd.DataFrame
) -> None:
    swept = [
        draw.Swept("Rate", "rate", "log2_lr", curves, best),
        draw.Swept("Schedule", "schedule", "log2_lr", curves, best, {-3: "constant", -1: "cosine"}),
    ]
    one, other = draw.hyperparameters(swept, top=0.9, loss="all steps").axes[:2]
    assert one.get_ylim() == other.get_ylim() and one.get_ylim()[1] == 0.9
    labels = [tick.get_text() for axes in (one, other) for tick in axes.get_xticklabels()]
    assert labels[-2:] == ["constant", "cosine"] and "constant" not in labels[:-2]
    assert len([line for line in other.lines if line.get_marker() == "x"]) == 2
