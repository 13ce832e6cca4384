"""The papers' parametrizations, as tables of powers of width and depth.

Every factor is relative to a base size, at which all parametrizations coincide: there a
weight W of fan-in n has entries N(0, init_gain / n), multiplier 1 and the plain rate.
Away from it, with m_N = width / base width and m_L = depth / base depth, a layer computes

    y = mult (W x),   W ~ N(0, (init_gain / n_0) init^2),

and steps at rate * sgd or rate * adam, where mult, init, ... are powers of m_N and m_L
and n_0 is the fan-in at base width. AdamW takes the share rate * adam * weight decay * decay
off a weight in every step, SGD the plain rate * weight decay.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from fathom.spec import Run, numbers


class Power(NamedTuple):
    """A factor m_N**width * m_L**depth."""

    width: float = 0.0
    depth: float = 0.0

    def at(self, run: Run) -> float:
        """The factor for this run's size relative to its base."""
        wider, deeper = run.net.width / run.base.width, run.net.depth / run.base.depth
        return float(wider**self.width * deeper**self.depth)


ONE = Power()


FALLS_BACK = {"block:1": "block", "block:2": "block", "embed": "input"}
FALLS_BACK |= {"change": "block", "change:1": "block:1", "change:2": "block:2"}
FALLS_BACK |= {"norm": "bias", "norm:last": "input", "transition": "block"}


class Rule(NamedTuple):
    """How one role of weight is scaled: multiplier, init, SGD and Adam rate, Adam's epsilon,
    weight decay."""

    mult: Power = ONE
    init: Power = ONE
    sgd: Power = ONE
    adam: Power = ONE
    eps: Power = ONE
    decay: Power = ONE


@dataclass(frozen=True)
class Parametrization:
    """A name, the factor on every residual branch, and a rule for every role.

    Roles: input, embed (an input that is looked up), block (or block:1, block:2 where layers
    of a branch differ), change (what a block's weight has learned, where a model keeps that
    apart), transition (a matrix between stages, which grows on both sides but is no branch), bias
    and norm (a bias or the gain of a norm inside a branch), norm:last (a gain or a bias outside
    of the branches), readout.
    """

    name: str
    branch: Power
    rules: Mapping[str, Rule]

    def rule(self, role: str) -> Rule:
        """The rule of a role; block:1, block:2, change and transition fall back on block, norm
        on bias, embed and norm:last on input."""
        return self.rules[role] if role in self.rules else self.rule(FALLS_BACK[role])

    def table(self) -> pd.DataFrame:
        """The parametrization as the papers print it: one row per role, powers of N and L."""
        rows = {role: [_power(p) for p in rule] for role, rule in self.rules.items()}
        columns = ["multiplier", "init", "SGD rate", "Adam rate", "Adam epsilon", "weight decay"]
        rows["branch factor"] = [_power(self.branch), *[""] * (len(columns) - 1)]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _power(power: Power) -> str:
    names = zip("NL", power, strict=True)
    return " ".join(f"{name}^{exponent:g}" for name, exponent in names if exponent) or "1"


# Standard: init 1/sqrt(fan-in) in every layer, one rate for all, nothing depends on depth.
SP = Parametrization(
    "sp",
    ONE,
    {
        "input": Rule(),
        "bias": Rule(),
        "block": Rule(init=Power(-1 / 2)),
        "readout": Rule(init=Power(-1 / 2)),
    },
)

# Neural-tangent: the powers of width sit in multipliers (Depthwise transfer, Table 1).
NTP = Parametrization(
    "ntp",
    ONE,
    {
        "input": Rule(),
        "bias": Rule(),
        "block": Rule(mult=Power(-1 / 2)),
        "readout": Rule(mult=Power(-1 / 2)),
    },
)

# A matrix that grows on both sides, under muP.
_GROWS = Rule(init=Power(-1 / 2), adam=Power(-1), eps=Power(-1), decay=Power(1))
# Maximal update in width, nothing in depth (Tensor Programs VI, Table 2; its plots' "SP").
MUP = Parametrization(
    "mup",
    ONE,
    {
        "input": Rule(sgd=Power(1), eps=Power(-1)),
        "bias": Rule(sgd=Power(1), eps=Power(-1)),
        "block": _GROWS,
        "transition": _GROWS,
        "readout": Rule(init=Power(-1), sgd=Power(-1), adam=Power(-1), decay=Power(1)),
    },
)


def alpha(a: float, g: float) -> Parametrization:
    """mup with branches L^-a and updates L^-g of the block weights.

    Raw rates: Adam L^-g, SGD L^(a-g); Adam's epsilon follows the gradient, L^-a. What else
    stands in a branch, biases and gains, has the same powers of depth and the input's of width.
    Source: Tensor Programs VI, Definitions 6.1 and 6.2; Dey et al. 2025, Table 1.
    """
    block = MUP.rules["block"]._replace(sgd=Power(0, a - g), adam=Power(-1, -g), eps=Power(-1, -a))
    bias = MUP.rules["bias"]._replace(sgd=Power(1, a - g), adam=Power(0, -g), eps=Power(-1, -a))
    rules = {**MUP.rules, "bias": bias, "block": block}
    return Parametrization(f"alpha({a:g}, {g:g})", Power(0, -a), rules)


DEPTH_MUP = replace(alpha(1 / 2, 1 / 2), name="depth_mup")
ODE = replace(alpha(1, 0), name="ode")
# Under Adam the same powers as ode (Dey et al. 2025, Table 1, alpha = 1); the name is that of
# networks with two matrices in a branch, where it was proposed.
COMPLETEP = replace(ODE, name="completep")

# Depth-muP, but the first matrix of a branch learns sqrt(L) faster: the correction proposed for
# block depth 2 (Yao, Wu and Gao 2025), which section 9.3 of Tensor Programs VI says must fail.
_first = DEPTH_MUP.rules["block"]._replace(sgd=Power(0, 1 / 2), adam=Power(-1))
FIRST_LAYER = Parametrization(
    "first_layer", DEPTH_MUP.branch, {**DEPTH_MUP.rules, "block:1": _first}
)

# Variance form: the branch is damped in its weights' variance, 1/(L n), and nowhere else.
# The rate keeps no power of depth: its drift, L^-1, is what the law for this form predicts.
_block = MUP.rules["block"]
AM_MUP = Parametrization(
    "am_mup", ONE, {**MUP.rules, "block": _block._replace(init=Power(-1 / 2, -1 / 2))}
)


def init(b: float, c: float) -> Parametrization:
    """mup with branches damped where their weights begin: the first matrix of a branch at L^-b,
    the second at L^-c; a branch of one matrix takes b. The rate keeps no power of depth.
    Source: the arms of a residual network whose exponents `depth_exponent` predicts."""
    at = {
        role: _GROWS._replace(init=Power(-1 / 2, -power))
        for role, power in (("block", b), ("block:1", b), ("block:2", c))
    }
    return Parametrization(f"init({b:g}, {c:g})", ONE, {**MUP.rules, **at})


PARAMETRIZATIONS = {
    p.name: p for p in (SP, NTP, MUP, ODE, DEPTH_MUP, AM_MUP, COMPLETEP, FIRST_LAYER)
}


def parametrization(name: str) -> Parametrization:
    """The parametrization that a run's `rules` names, alpha(a, g) and init(b, c) included."""
    if name in PARAMETRIZATIONS:
        return PARAMETRIZATIONS[name]
    for word, general in (("alpha", alpha), ("init", init)):
        found = numbers(name, word, 2)
        if found is not None:
            return general(*found)
    raise KeyError(name)


def depth_exponent(name: str, kind: str, block_depth: int = 1) -> float:
    """The power of depth that the best rate of the matrices in a residual network's branches
    follows in theory; NaN where the stream grows beyond bounds at initialisation.

    With branches L^-alpha F, whose i-th matrix begins at L^-beta_i, B the sum of all beta_i, the
    update of matrix i moves the stream by L^(-2 alpha - 2 (B - beta_i)) per unit of rate under
    SGD, by the root of it under Adam, and the updates of L blocks add up: the rate that keeps
    their sum falls as L^(2 alpha + 2 (B - max beta_i) - 1), or L^(alpha + B - max beta_i - 1).
    """
    rules = parametrization(name)
    roles = ["block"] if block_depth == 1 else ["block:1", "block:2"]
    betas = [-rules.rule(role).init.depth for role in roles]
    total = sum(betas) - rules.branch.depth
    if total < 1 / 2:
        return math.nan
    return (2 if kind == "sgd" else 1) * (total - max(betas)) - 1


def own_exponent(name: str, kind: str) -> float:
    """The power of depth that the rules themselves give the rate of a branch's matrices: the
    exponent of that rate is the exponent of the base rate and this."""
    rule = parametrization(name).rule("block")
    return (rule.sgd if kind == "sgd" else rule.adam).depth


def with_theory(found: pd.DataFrame) -> pd.DataFrame:
    """Exponents of base rates beside what theory predicts: `predicted` is that of the rate of a
    branch's matrices, and value, low and high become the same by adding what the rules give that
    rate themselves. A chain, whose units all multiply the signal, has -3/2; NaN where there is no
    prediction. Columns: family, rules, kind, block_depth, value, low, high."""
    chain = found["family"].isin(["mlp", "cnn"])
    keys = [str(name) for name in ("rules", "kind", "block_depth")]
    rows = list(found[keys].itertuples(index=False, name=None))
    own = [own_exponent(rules, kind) for rules, kind, _ in rows]
    predicted = pd.Series([depth_exponent(*row) for row in rows], found.index).mask(chain, -3 / 2)
    shifted = {name: found[name] + own for name in ("value", "low", "high")}
    return found.assign(predicted=predicted, **shifted)
