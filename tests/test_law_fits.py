"""What a fitted exponent owes to the fit."""

import numpy as np
import pandas as pd
import pytest
from fathom import law

DEPTHS = [3, 6, 12, 24, 48]


def optima(rate: object, scatter: float | list[float] = 0.0, flag: str = "") -> pd.DataFrame:
    """Optima of ten seeds at DEPTHS around log2 rates, with a scatter for each depth."""
    draws = np.random.default_rng(0).normal(size=(10, len(DEPTHS)))
    values = np.asarray(rate) + np.asarray(scatter) * (draws - draws.mean(axis=0))
    rows = [
        {"seed": seed, "depth": depth, "optimum": values[seed, i], "flag": ""}
        for seed in range(10)
        for i, depth in enumerate(DEPTHS)
    ]
    rows[0]["flag"] = flag
    return pd.DataFrame(rows)


def test_a_power_law_has_one_exponent_by_every_fit_that_counts_depth_as_it_does() -> None:
    line = optima(-1.5 * np.log2(DEPTHS), 0.1)
    found = (law.fit(line), law.fit(line, weighted=True), law.fit(line, skip=1))
    assert [one.value for one in found] == pytest.approx([-1.5] * 3, abs=1e-6)
    local = law.local_slopes(line)
    assert local["value"].tolist() == pytest.approx([-1.5] * 4)
    assert local["depth"].iloc[0] == pytest.approx(np.sqrt(18))


def test_depth_counted_by_one_more_is_steeper() -> None:
    line = optima(-1.5 * np.log2(DEPTHS), 0.1)
    assert law.fit(line, offset=1).value < -1.6
    shifted = optima(-1.5 * np.log2(np.add(DEPTHS, 1)), 0.1)
    assert law.fit(shifted, offset=1).value == pytest.approx(-1.5, abs=1e-6)
    assert law.fit(shifted).value > -1.45


def test_weights_take_the_depths_that_scatter_least() -> None:
    bent = optima([0, -0.5, -1, -3, -5], [0.01, 0.01, 0.01, 1, 1])
    assert law.fit(bent, weighted=True).value == pytest.approx(-0.5, abs=0.02)
    assert law.fit(bent).value < -1.2


def test_the_formula_bends_and_its_local_slopes_say_so() -> None:
    bent = optima(np.log2(law.finite_depth(DEPTHS)), 0.1)
    local, known = law.local_slopes(bent), law.local_formula(DEPTHS)
    assert local["value"].tolist() == pytest.approx(known["value"].tolist())
    assert known["value"].is_monotonic_decreasing
    assert -1.5 < known["value"].iloc[-1] < -1.45 < known["value"].iloc[0]


def test_a_seed_without_a_usable_optimum_does_not_count() -> None:
    line = -1.5 * np.log2(DEPTHS)
    assert law.fit(optima(line, flag="edge")).seeds == 9
    lost = optima(line).assign(flag="lost")
    assert np.isnan(law.fit(lost).value)
    assert law.local_slopes(lost)["value"].isna().all()


def test_every_table_is_fitted_in_every_way() -> None:
    found = law.fits({"chain": optima(-np.log2(DEPTHS), 0.1)})
    assert found["fit"].tolist() == list(law.FITS)
    assert (found["low"] <= found["value"]).all()
