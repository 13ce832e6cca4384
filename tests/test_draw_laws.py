"""Figures of the law: theory is dashed, a paper's values hollow, what left the grid a cross."""

import math
from typing import Any

import pandas as pd
import pytest
from fathom import draw, law
from fathom.draw.laws import ARMS, WAYS
from fathom.law import Interval
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

FOUND = Interval(-1.4, -1.5, -1.3, 5)


@pytest.fixture
def best() -> pd.DataFrame:
    rows = [{"depth": d, "optimum": -1.4 * math.log2(d), "flag": ""} for d in (3, 6, 12)]
    table = pd.DataFrame(rows)
    return table.assign(low=table["optimum"] - 0.1, high=table["optimum"] + 0.1)


def dashed(axes: Axes) -> list[Any]:
    return [line for line in axes.lines if line.get_linestyle() == "--"]


@pytest.mark.parametrize("charts", [1, 2, 3, 5])
def test_a_list_of_exponents_stands_beside_any_number_of_panels(
    best: pd.DataFrame, charts: int
) -> None:
    theories = law.carried(best, ["three_halves"])
    chart = draw.Chart("Chain", [draw.Rates("chain", "chain", best, at=0)], theories)
    rows = [draw.Row("chain", [FOUND], "chain"), draw.Row("reviews", [-1.33], "grey")]
    figure = draw.power_laws([chart] * charts, rows)
    *panels, listed = figure.axes
    assert len(panels) == charts
    assert [len(dashed(axes)) for axes in panels] == [1] * charts
    assert len(dashed(listed)) == 4
    marks = [line for line in listed.lines if line.get_marker() == "o"]
    assert [mark.get_markerfacecolor() for mark in marks] == ["#332288", "white"]
    words = [text.get_text() for text in panels[0].texts]
    assert "depth^(−3/2)" in words
    assert "chain" in words


def test_the_map_shows_every_arm_with_what_is_predicted() -> None:
    rows = [
        {"family": "resmlp", "rules": rules, "block_depth": matrices, "kind": kind}
        for rules, matrices in ARMS
        for kind in ("sgd", "adam")
    ]
    rows.append({"family": "mlp", "rules": "mup", "block_depth": 1, "kind": "sgd"})
    table = pd.DataFrame(rows).assign(value=-1.0, low=-1.1, high=-0.9, predicted=-1.0)
    table = table.assign(arm=draw.arms, how=["one step", "trained"] * 8 + ["one step"])
    left, right = draw.exponent_map(table, chain="chain").axes
    assert len(dashed(left)) == 1
    marks = [line for line in right.lines if line.get_marker() in ("o", "s")]
    assert len(marks) == len(rows)
    assert sum(mark.get_markerfacecolor() == "white" for mark in marks) == 8
    assert [label.get_text() for label in right.get_yticklabels()] == [*ARMS.values(), "chain"]


def test_a_regret_that_is_unknown_is_a_cross_and_the_cheapest_is_framed() -> None:
    rows = [("constant", math.nan), ("inverse", 0.02), ("three_halves", 3.0), ("fitted", math.inf)]
    table = pd.DataFrame(rows, columns=["prediction", "value"])
    axes = draw.regrets({"chain": table, "other": table[1:2]}).axes[0]
    assert [one.get_text() for one in axes.texts] == ["×", "0.020", "3.000", "×", "0.020"]
    framed = [to_rgba(one.get_edgecolor())[-1] for one in axes.patches]
    assert framed == [0, 1, 0, 0, 1]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["chain", "other"]


def test_every_way_of_choosing_has_its_row_and_its_share() -> None:
    rows = [
        {"truth": truth, "way": way, "exponent": truth, "low": truth - 0.1, "high": truth + 0.1}
        for truth in (-1.2, -1.5)
        for way in WAYS
    ]
    figure = draw.hazards(pd.DataFrame(rows).assign(inside=0.25))
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["25 %"] * len(WAYS)
        assert len(dashed(axes)) == 1
