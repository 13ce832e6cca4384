"""The parametrizations are the papers' tables, typed in again by hand."""

from dataclasses import replace

import pytest
from fathom.networks.parametrization import PARAMETRIZATIONS, parametrization
from fathom.spec import RULES

Exponents = tuple[float, float]
Row = tuple[Exponents, Exponents, Exponents, Exponents, Exponents]
NONE = (0.0, 0.0)

# Powers of (width, depth) of: multiplier, init's standard deviation, SGD rate, Adam rate,
# Adam epsilon; typed in again from the papers, not from parametrization.py.
# Tensor Programs VI, Table 2: U has variance 1, W 1/n, V 1/n^2; gradients 1/n, 1/n, 1.
INPUT: Row = (NONE, NONE, (1, 0), NONE, (-1, 0))
READOUT: Row = (NONE, (-1, 0), (-1, 0), (-1, 0), NONE)
PLAIN: Row = (NONE, NONE, NONE, NONE, NONE)
# Per name: the branch factor, then input, block, read-out.
TABLES: dict[str, tuple[Exponents, Row, Row, Row]] = {
    # Depthwise transfer, Table 1, column SP: every variance 1/fan-in, one rate.
    "sp": (NONE, PLAIN, (NONE, (-0.5, 0), NONE, NONE, NONE), (NONE, (-0.5, 0), NONE, NONE, NONE)),
    # The same table, column NTP: variances 1, multipliers N^(-1/2), one rate.
    "ntp": (NONE, PLAIN, ((-0.5, 0), NONE, NONE, NONE, NONE), ((-0.5, 0), NONE, NONE, NONE, NONE)),
    # Tensor Programs VI, section 6 (a, g): branch L^-a, Adam n^-1 L^-g, SGD L^(a-g), gradient
    # n^-1 L^-a; here (0, 0), (1, 0) and (1/2, 1/2).
    "mup": (NONE, INPUT, (NONE, (-0.5, 0), NONE, (-1, 0), (-1, 0)), READOUT),
    "ode": ((0, -1), INPUT, (NONE, (-0.5, 0), (0, 1), (-1, 0), (-1, -1)), READOUT),
    "depth_mup": (
        (0, -0.5),
        INPUT,
        (NONE, (-0.5, 0), NONE, (-1, -0.5), (-1, -0.5)),
        READOUT,
    ),
    # Effective-depth law, section 4.1: branch weights of variance 1/(L n), rates without depth.
    "am_mup": (NONE, INPUT, (NONE, (-0.5, -0.5), NONE, (-1, 0), (-1, 0)), READOUT),
    # Rows of the classification: intermediate, over-damped, SP of the text, unfaithful.
    "alpha(0.75, 0.25)": (
        (0, -0.75),
        INPUT,
        (NONE, (-0.5, 0), (0, 0.5), (-1, -0.25), (-1, -0.75)),
        READOUT,
    ),
    "alpha(0.5, 1)": (
        (0, -0.5),
        INPUT,
        (NONE, (-0.5, 0), (0, -0.5), (-1, -1), (-1, -0.5)),
        READOUT,
    ),
    "alpha(0, 1)": (NONE, INPUT, (NONE, (-0.5, 0), (0, -1), (-1, -1), (-1, 0)), READOUT),
    "alpha(1.25, -0.25)": (
        (0, -1.25),
        INPUT,
        (NONE, (-0.5, 0), (0, 1.5), (-1, 0.25), (-1, -1.25)),
        READOUT,
    ),
}


# Blocks only, the row (1/2, 0) of the classification.
TABLES["alpha(0.5, 0)"] = (
    (0, -0.5),
    INPUT,
    (NONE, (-0.5, 0), (0, 0.5), (-1, 0), (-1, -0.5)),
    READOUT,
)
# CompleteP (Dey et al. 2025), Table 1 at alpha = 1: residual 1/m_L, hidden variance 1/m_N, rate
# 1/m_N m_L^(alpha - 1), epsilon 1/(m_N m_L); embedding rate and variance plain; unembedding
# XW/m_N at the plain rate, which is READOUT's init and rate with the multiplier absorbed. SGD
# is not in that table: its rates follow section 6 of Tensor Programs VI.
TABLES["completep"] = (
    (0, -1),
    INPUT,
    (NONE, (-0.5, 0), (0, 1), (-1, 0), (-1, -1)),
    READOUT,
)
TABLES["first_layer"] = TABLES["depth_mup"]
# Powers of (width, depth) of biases and of gains of a norm inside a branch: SGD rate, Adam rate,
# Adam epsilon. CompleteP, Table 1, rows pre-LN and hidden bias, eta m_L^(alpha - 1), at alpha
# 1/2 and 1, column muP, and column SP; the others by the same counting.
VECTORS: dict[str, tuple[Exponents, Exponents, Exponents]] = {
    "sp": (NONE, NONE, NONE),
    "ntp": (NONE, NONE, NONE),
    "mup": ((1, 0), NONE, (-1, 0)),
    "am_mup": ((1, 0), NONE, (-1, 0)),
    "depth_mup": ((1, 0), (0, -0.5), (-1, -0.5)),
    "first_layer": ((1, 0), (0, -0.5), (-1, -0.5)),
    "completep": ((1, 1), NONE, (-1, -1)),
    "ode": ((1, 1), NONE, (-1, -1)),
    "alpha(0.75, 0.25)": ((1, 0.5), (0, -0.25), (-1, -0.75)),
    "alpha(0.5, 0)": ((1, 0.5), NONE, (-1, -0.5)),
}
# The same table: weight decay grows as the rate falls with width, its product with it stays.
DECAYS: dict[str, tuple[Exponents, ...]] = dict.fromkeys(("sp", "ntp"), (NONE, NONE, NONE))
GROWING = (NONE, (1.0, 0.0), (1.0, 0.0))


@pytest.mark.parametrize("name", TABLES)
def test_a_parametrization_is_the_papers_table(name: str) -> None:
    branch, *rows = TABLES[name]
    found = parametrization(name)
    assert found.branch == branch
    rules = [found.rule(role) for role in ("input", "block", "readout")]
    assert [rule[:-1] for rule in rules] == rows
    assert [rule.decay for rule in rules] == list(DECAYS.get(name, GROWING))
    assert found.rule("embed") == found.rule("input")
    assert found.rule("block:2") == found.rule("block")


@pytest.mark.parametrize("name", VECTORS)
def test_biases_and_gains_follow_the_branch_they_stand_in(name: str) -> None:
    found = parametrization(name)
    for role in ("bias", "norm"):
        rule = found.rule(role)
        assert (rule.sgd, rule.adam, rule.eps) == VECTORS[name]
        assert (rule.mult, rule.init, rule.decay) == (NONE, NONE, NONE)
    assert found.rule("norm:last") == found.rule("input"), "the last norm keeps the plain rate"


def test_the_first_layer_of_a_branch_has_a_rule_of_its_own_where_it_is_corrected() -> None:
    for name in RULES:
        rules = parametrization(name)
        corrected = name == "first_layer"
        assert (rules.rule("block:1") != rules.rule("block:2")) == corrected
    first, then = (parametrization("first_layer").rule(f"block:{i}") for i in (1, 2))
    assert (first.adam.depth, then.adam.depth) == (0, -0.5)
    assert (first.sgd.depth, then.sgd.depth) == (0.5, 0)


def test_every_named_parametrization_is_typed_in_again() -> None:
    assert set(RULES) <= set(TABLES)
    assert set(RULES) <= set(VECTORS)


@pytest.mark.parametrize(
    ("a", "name"), [("0.5, 0.5", "depth_mup"), ("1, 0", "ode"), ("0,0", "mup")]
)
def test_alpha_contains_the_named_points(a: str, name: str) -> None:
    assert replace(parametrization(f"alpha({a})"), name=name) == PARAMETRIZATIONS[name]


def test_both_layers_of_a_branch_follow_the_block() -> None:
    found = parametrization("depth_mup")
    assert found.rule("block:1") == found.rule("block:2") == found.rule("block")


def test_a_name_that_is_none_has_no_parametrization() -> None:
    with pytest.raises(KeyError):
        parametrization("depthmup")


def test_a_table_prints_as_the_papers_do() -> None:
    printed = parametrization("depth_mup").table()
    assert list(printed.loc["block"]) == ["1", "N^-0.5", "1", "N^-1 L^-0.5", "N^-1 L^-0.5", "N^1"]
    assert printed.loc["branch factor", "multiplier"] == "L^-0.5"
