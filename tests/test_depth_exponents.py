"""The coordinate check of Depthwise transfer (section 3.5 of our notes) as exponents: how what one
step moves grows with depth, for branches L^-alpha and every rule for the rate."""

from typing import Any

import numpy as np
import pytest
from conftest import MakeRuns
from fathom.measurement import coordinates

# Ends are frozen: they move by the same at every depth, and would hide what blocks move.
SIZE: dict[str, Any] = {"width": 64, "base_width": 64, "base_depth": 1, "train_ends": False}
SIZE |= {"steps": 1, "seed": [1, 2, 3, 4]}
RATES = {"sgd": -8, "adam": -12}
# kind; alpha of the branch; the power of L that the rate is given beside; what the stream follows.
# L blocks add up: L . L^-2alpha . rate under SGD, L . L^-alpha . rate under Adam.
ROWS = [
    ("sgd", 1 / 2, 0, 0),
    ("sgd", 1 / 2, 1 / 2, 1 / 2),
    ("sgd", 1 / 2, -1 / 2, -1 / 2),
    ("sgd", 1, 1, 0),
    ("sgd", 1, 0, -1),
    ("adam", 1 / 2, -1 / 2, 0),
    ("adam", 1 / 2, 0, 1 / 2),
    ("adam", 1 / 2, -1, -1 / 2),
    ("adam", 1, 0, 0),
    ("adam", 1, -1 / 2, -1 / 2),
]


def moved(make_runs: MakeRuns, kind: str, rules: str, order: str, depth: int) -> dict[str, float]:
    changes = {"kind": kind, "log2_lr": RATES[kind], "order": order, "center": order == "post"}
    rows = coordinates(make_runs(**SIZE, **changes, rules=rules, depth=depth))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize(("kind", "alpha", "power", "exponent"), ROWS)
def test_one_step_moves_features_by_the_power_of_depth_that_counting_gives(
    make_runs: MakeRuns, kind: str, alpha: float, power: float, exponent: float, order: str
) -> None:
    # an update L^-gamma of block weights is a rate L^(alpha - gamma) under SGD, L^-gamma under Adam
    gamma = alpha - power if kind == "sgd" else -power
    assert exponent == 1 - alpha - gamma
    depths = (16, 64, 256)
    found = [moved(make_runs, kind, f"alpha({alpha}, {gamma})", order, depth) for depth in depths]

    def fitted(name: str) -> float:
        return float(np.polyfit(np.log(depths), np.log([row[name] for row in found]), 1)[0])

    assert fitted("stream_move") == pytest.approx(exponent, abs=0.08)
    assert fitted("output_move") == pytest.approx(exponent, abs=0.08)
    # section 5.8: a block's own weights freeze as L^(alpha - 1) where the stream keeps moving
    assert fitted("weight_move") == pytest.approx(-gamma, abs=0.08)


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_without_a_branch_factor_there_is_no_such_power(
    make_runs: MakeRuns, kind: str, order: str
) -> None:
    first, second, third = (
        moved(make_runs, kind, "mup", order, depth)["stream_move"] for depth in (4, 16, 64)
    )
    assert second > 16 * first
    assert not third < 100 * second  # or it has overflowed
