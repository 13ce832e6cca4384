"""How verdicts are made, on simulated claims whose truth is known: coverage of two-stage intervals,
controls, steps towards the theory, and how often a true claim holds and a false one does."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fathom import claim, law
from fathom.claim import FAILS, HOLDS, OPEN, OUT
from numpy.typing import NDArray
from scipy import stats

SUITES = 4000
TARGET = (-0.15, 0.15)


def table(samples: NDArray[np.float64], rate: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"seed": range(len(samples)), "x": samples, "rate": rate})


def part(**more: Any) -> dict[str, Any]:
    said = {"says": "", "paper": "", "source": "", "why": "", "measure": "level", "table": "t"}
    return {**said, "with": {"of": "x", "given": {"rate": 1.0}}, "target": [*TARGET], **more}


def judged(said: dict[str, Any], rows: pd.DataFrame) -> claim.Judged:
    return claim.judged(claim.measured(said, {"t": rows}), said, {"t": rows})


def in_two_stages(
    draw: Any, first: int, half: float, suites: int = SUITES
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Many repetitions of both stages at once: means, half-widths, numbers of seeds."""
    begun = draw((suites, first))
    scale = stats.t.ppf(0.975, first - 1) * begun.std(axis=1, ddof=1)
    seeds = np.maximum(first, np.ceil((scale / half) ** 2)).astype(int)
    means = np.empty(suites)
    for i, n in enumerate(seeds):
        means[i] = (begun[i].sum() + draw((n - first,)).sum()) / n
    return means, scale / np.sqrt(seeds), seeds


@pytest.mark.parametrize("first", [5, 6, 8])
def test_two_stage_intervals_cover_the_mean_in_95_of_100(first: int) -> None:
    rng = np.random.default_rng(first)
    means, halves, seeds = in_two_stages(rng.standard_normal, first, 0.5)
    assert (seeds > first).mean() > 0.9, "a second stage is what is tested"
    assert np.mean(np.abs(means) <= halves) == pytest.approx(0.95, abs=0.01)
    assert (halves <= 0.5 + 1e-12).all()


def test_an_interval_by_all_seeds_whose_number_the_first_decided_covers_less() -> None:
    """What the two-stage rule is for: the usual interval after a second stage is too narrow."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(SUITES):
        begun = rng.standard_normal(5)
        wanted = law.seeds_for(law.interval(begun), 0.8)
        found = law.interval(np.concatenate([begun, rng.standard_normal(int(wanted) - 5)]))
        covered += found.low <= 0 <= found.high
    assert covered / SUITES < 0.94


def test_heavy_tails_cost_coverage_and_by_how_much_is_known() -> None:
    rng = np.random.default_rng(1)
    draws = {
        "t with 3 degrees": lambda size: rng.standard_t(3, size) / math.sqrt(3),
        "log-normal": lambda size: rng.lognormal(0, 1, size) - math.exp(0.5),
    }
    found = {}
    for name, draw in draws.items():
        means, halves, _ = in_two_stages(draw, 8, 0.5)
        found[name] = np.mean(np.abs(means) <= halves)
    assert found["t with 3 degrees"] == pytest.approx(0.95, abs=0.02)
    assert found["log-normal"] == pytest.approx(0.77, abs=0.03)


def test_the_code_of_two_stages_is_what_was_simulated() -> None:
    rng = np.random.default_rng(2)
    samples = rng.standard_normal(20)
    found = law.two_stage(law.interval(samples), 8)
    half = stats.t.ppf(0.975, 7) * samples[:8].std(ddof=1) / math.sqrt(20)
    assert found[:4] == pytest.approx((samples.mean(), *(samples.mean() + half * np.r_[-1, 1]), 20))
    assert law.two_stage(law.interval(samples[:8]), 8) == law.interval(samples[:8])
    assert law.seeds_for(law.interval(samples[:8]), found.value - found.low) == 20
    with pytest.raises(LookupError, match="is a mean over seeds"):
        law.two_stage(law.Interval(0, -1, 1, 8), 8)


@pytest.mark.parametrize("first", [5, 8])
def test_true_claims_hold_and_false_ones_do_not(first: int) -> None:
    """At the half-width that a target asks for, a value in its middle holds in at least 90 of 100
    suites, a value on its bound in at most 5; a third of the width would not do."""
    rng = np.random.default_rng(10 + first)
    held = {}
    for half in (claim.half_width(part()), (TARGET[1] - TARGET[0]) / 3):
        means, halves, _ = in_two_stages(lambda size: rng.normal(0, 0.2, size), first, half)
        held[half] = np.mean((means - halves >= TARGET[0]) & (means + halves <= TARGET[1]))
    good, wide = held.values()
    assert good >= 0.9
    assert wide < 0.9
    means, halves, _ = in_two_stages(
        lambda size: rng.normal(TARGET[1], 0.2, size), first, claim.half_width(part())
    )
    assert np.mean((means - halves >= TARGET[0]) & (means + halves <= TARGET[1])) <= 0.05


CONTROL = {
    "says": "steps are small", "measure": "level", "table": "t",
    "with": {"of": "moved", "given": {"rate": 1.0}}, "target": [None, 0.5],
    "reach": "a smaller rate",
}  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_a_part_whose_control_fails_can_neither_hold_nor_fail(value: float) -> None:
    noise = np.linspace(-0.01, 0.01, 8)
    far = table(value + noise).assign(moved=1.2 + noise)
    said = part(provided={"small steps": CONTROL})
    found = judged(said, far)
    assert found.verdict == OUT
    assert "steps are small: 1.2" in found.reason
    assert "needs a smaller rate" in found.reason
    assert math.isnan(found.seeds_needed)
    near = far.assign(moved=0.1 + noise)
    assert judged(said, near).verdict in (HOLDS, OPEN)


def test_a_part_whose_control_is_undecided_is_inconclusive() -> None:
    noise = np.linspace(-0.01, 0.01, 8)
    rows = table(noise).assign(moved=0.5 + noise)
    found = judged(part(provided={"small steps": CONTROL}), rows)
    assert found.verdict == OPEN
    assert found.reason.startswith("control undecided: steps are small")


TOWARDS = {"half": {"given": {"rate": 0.5}}, "quarter": {"given": {"rate": 0.25}}}


def rates(values: dict[float, float], seeds: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.01, seeds)
    return pd.concat([table(value + noise, rate) for rate, value in values.items()])


def test_a_part_does_not_hold_only_where_two_steps_towards_the_theory_agree() -> None:
    said = part(towards=TOWARDS)
    false = judged(said, rates({1.0: 0.4, 0.5: 0.41, 0.25: 0.4}))
    assert (false.verdict, false.reason[:15]) == (FAILS, "steps agree: ha")
    biased = judged(said, rates({1.0: 0.4, 0.5: 0.2, 0.25: 0.1}))
    assert biased.verdict == OPEN
    assert "quarter: 0.0992 [0.091, 0.107]" in biased.reason
    assert judged(part(), rates({1.0: 0.4})).verdict == OPEN, "no steps were made"
    assert judged(part(wants="size"), rates({1.0: 0.4})).reason.endswith("needs larger networks")


@pytest.mark.parametrize("seeds", [8, 100])
def test_a_bias_does_not_shrink_with_seeds_and_none_are_asked_for(seeds: int) -> None:
    """The truth is 0 in the limit of small rates and 0.4 at rate 1: no seeds repair that."""
    found = judged(part(towards=TOWARDS), rates({1.0: 0.4, 0.5: 0.2, 0.25: 0.1}, seeds))
    assert found.verdict == OPEN
    assert math.isnan(found.seeds_needed)
    near_bound = judged(part(), table(0.15 + np.linspace(-0.01, 0.01, seeds)))
    assert near_bound.verdict == OPEN
    assert math.isnan(near_bound.seeds_needed), "narrow enough: no number of seeds decides"
    noisy = judged(part(), table(np.linspace(-1, 1, 8)))
    assert noisy.seeds_needed > 8
