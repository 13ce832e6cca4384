"""Words with numbers in them, and batches against the examples that a task has."""

from typing import Any

import numpy as np
import pytest
from conftest import MakeRuns
from fathom import measurement
from fathom.networks import fashion
from fathom.networks.parametrization import parametrization
from fathom.networks.tasks import task
from fathom.phi import left_slope, phi
from fathom.spec import (
    DRAWN,
    EXAMPLES,
    MEASURES,
    RULES,
    TASKS,
    Limit,
    Net,
    Refused,
    numbers,
    settings,
)
from fathom.training import train

LIMIT: dict[str, Any] = {"rules": "mup", "depth": 2, "log2_lr": 0, "steps": 1}
LIMIT |= {"task": "digits_mse", "seed": 1}


def rules(make_runs: MakeRuns, word: str) -> str:
    return make_runs(rules=word)[0].rules


@pytest.mark.parametrize(
    ("word", "canonical"),
    [
        ("alpha(.5,.5)", "alpha(0.5, 0.5)"),
        ("alpha(1.,0)", "alpha(1, 0)"),
        ("alpha(0.75, -0.25)", "alpha(0.75, -0.25)"),
        ("alpha(1/2, 1/4)", "alpha(0.5, 0.25)"),
        ("alpha( +0.50 ,-0 )", "alpha(0.5, 0)"),
        ("alpha(5e-1, 1E0)", "alpha(0.5, 1)"),
        ("alpha(0.00001, 1/3)", "alpha(1e-05, 0.333333)"),
    ],
)
def test_a_parametrization_has_one_spelling(make_runs: MakeRuns, word: str, canonical: str) -> None:
    assert rules(make_runs, word) == canonical == rules(make_runs, canonical)
    assert make_runs(rules=word)[0].key == make_runs(rules=canonical)[0].key
    assert settings(Limit, {**LIMIT, "rules": word}, "test").rules == canonical
    assert parametrization(word).name == parametrization(canonical).name == canonical


@pytest.mark.parametrize(
    ("word", "canonical", "slope"),
    [
        ("kink(.5)", "kink(0.5)", 0.5),
        ("kink(-1/4)", "kink(-0.25)", -0.25),
        ("kink(1.)", "kink(1)", 1.0),
        ("kink(-0.0)", "kink(0)", 0.0),
        ("kink(0.00001)", "kink(1e-05)", 1e-5),
    ],
)
def test_a_kink_has_one_spelling_that_phi_reads(word: str, canonical: str, slope: float) -> None:
    assert Net(family="resmlp", width=1, depth=1, phi=word).phi == canonical
    assert left_slope(canonical) == slope
    np.testing.assert_allclose(phi(canonical).f(np.array([-2.0, 3.0])), [-2 * slope, 3.0])


@pytest.mark.parametrize(
    "word",
    [
        *("alpha(1)", "alpha()", "alpha(0.5, 0.25", "alpha(0.5", "alpha(a, g)", "alpha(1, 2, 3)"),
        *("alpha(nan, 0)", "alpha(inf, 0)", "alpha(1/0, 0)", "alpha(0,5 0,5)", "alpha(., .)"),
        *("alpha 0.5 0.25", "Alpha(0.5, 0.25)", "alhpa(0.5, 0.25)", "kink(0.5)"),
    ],
)
def test_a_word_with_other_numbers_is_refused_with_an_example(
    make_runs: MakeRuns, word: str
) -> None:
    for what in (
        lambda: make_runs(rules=word),
        lambda: settings(Limit, {**LIMIT, "rules": word}, "test"),
    ):
        with pytest.raises(Refused, match=r"for example alpha\(0\.5, 0\.25\)") as caught:
            what()
        assert "rules" in str(caught.value) and word in str(caught.value)
    assert numbers(word, "alpha", 2) is None


def test_a_word_that_a_list_took_apart_is_told_to_stand_in_quotes(make_runs: MakeRuns) -> None:
    with pytest.raises(Refused, match="inside a list write it in quotes"):
        make_runs(rules=["alpha(0.75", "0.25)", "mup"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phi": "kink"}, r"kink\(s\), for example kink\(-0\.5\)"),
        ({"phi": "kink(1, 2)"}, r"is not of the form kink\(s\), for example kink\(-0\.5\)"),
        ({"phi": "kink(11)"}, "not within -10 and 10"),
        ({"rules": "alpha(1e9, 0)"}, "not within -10 and 10"),
        ({"rules": "alpha(0, -1e999)"}, "not within -10 and 10"),
    ],
)
def test_numbers_out_of_range_and_bare_names_are_refused(
    make_runs: MakeRuns, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused, match=says):
        make_runs(**change)


def test_the_largest_powers_leave_a_number(make_runs: MakeRuns) -> None:
    run = make_runs(rules="alpha(-10, 10)", depth=1024, base_depth=1)[0]
    assert np.isfinite(parametrization(run.rules).branch.at(run))


def test_a_rate_below_zero_is_no_other_rate(make_runs: MakeRuns) -> None:
    assert make_runs(log2_lr=-0.0)[0].key == make_runs(log2_lr=0)[0].key


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_holds_no_example_twice(make_runs: MakeRuns, name: str) -> None:
    if name.startswith("fashion") and fashion.source() is None:
        pytest.skip("Fashion-MNIST is not here; make data brings it")
    about, family = task(name), "lm" if name == "text" else "resmlp"
    there = len(about.x) - about.held_out
    if name in DRAWN:  # draws each batch anew
        assert name not in EXAMPLES and there == 0
        assert make_runs(task=name, batch=10**6)
        return
    assert EXAMPLES[name] == there
    (run,) = make_runs(task=name, family=family, batch=there)
    order = about.batches(run.seed, there, 2)
    assert all(len(set(step.tolist())) == there for step in order)
    with pytest.raises(Refused) as caught:
        make_runs(task=name, family=family, batch=[there, there + 1])
    assert f"batch {there + 1} is larger than task {name}, which has {there}" in str(caught.value)


def test_a_limit_has_no_larger_batch_than_its_networks() -> None:
    said = {**LIMIT, "task": "unit", "batch": 2}
    with pytest.raises(Refused, match="batch 2 is larger than task unit, which has 1"):
        settings(Limit, said, "test")


def test_every_allowed_word_leads_somewhere(make_runs: MakeRuns) -> None:
    for run in make_runs(rules=[*RULES, "alpha(0.7, 0.3)", "alpha(1.25,-0.25)", "init(1/4, 0.5)"]):
        assert parametrization(run.rules)
    for name in TASKS:
        if name.startswith("fashion") and fashion.source() is None:
            continue
        family = "lm" if name == "text" else "resmlp"
        for run in make_runs(task=name, family=family, kind=["sgd", "adam"], batch=1):
            assert task(run.task) and train.numerics(run)
    for measure in MEASURES:
        assert measurement.one_step(make_runs(), measure)
