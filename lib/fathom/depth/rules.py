"""The learning rate for another depth, by the rules that the literature gives."""

import math
from numbers import Real
from typing import NamedTuple

from fathom import law, store
from fathom.depth.trace import Trace
from fathom.law import PREDICTIONS, Cost
from fathom.spec import Refused
from fathom.spec.words import nearest

RULES = {
    "three_halves": "rate ~ L^(-3/2): one-step theory of chains, far out (arXiv 2602.07494)",
    "finite_depth": "one-step theory of chains at finite depth: flatter than L^(-3/2)",
    "inverse": "rate ~ 1/L: residual branches whose weights, not multipliers, carry 1/sqrt(L)",
    "constant": "the rate as it is",
    "all_paths": "rate ~ (sum over paths of their length cubed)^(-1/2) (Chen et al. 2024, Eq. 8)",
    "depth_mup": "branches multiplied by 1/sqrt(L); the rate of hidden weights is "
    "constant under SGD, ~ L^(-1/2) under Adam (Yang et al. 2023)",
    "completep": "branches multiplied by 1/L; the rate of hidden weights is constant under Adam, "
    "~ L under SGD (Dey et al. 2025; exponents alpha = 1, gamma = 0)",
}
EXPONENTS = {
    "three_halves": (-1.5, -1.5),
    "inverse": (-1.0, -1.0),
    "constant": (0.0, 0.0),
    "depth_mup": (0.0, -0.5),
    "completep": (1.0, 0.0),
}  # of the rate in depth, under sgd and adam
OPTIMIZERS = ("sgd", "adam")


MEASURED = {0.0: "constant", -1.0: "inverse", -1.5: "three_halves"}  # exponents of a base rate
OF_ONE = {"depth_mup": "Depth-muP", "completep": "CompleteP"}  # rules of one parametrization
OWN_FIT = "own fit"  # the rule of a number
UNKNOWN = "its cost was not measured"
FAR_FROM = 8  # times deeper: the most that costs are averaged over, but for kinds called law.FAR


class Rate(NamedTuple):
    """A rate for the deeper network: its base-2 logarithm, the exponent in depth where the rule is
    a power, the rule, what it says; and what it cost in log loss above the deeper network's own
    best rate on a kind of network measured here (infinite where runs diverged, NaN where the rate
    left the grid; None where no cost is known, and `why`). `assumed`: nobody said that it is this
    kind. `ratio`: how many times deeper the deep network is."""

    log2_lr: float
    exponent: float | None
    rule: str
    said: str
    ratio: float
    network: str = ""
    assumed: bool = False
    cost: Cost | None = None
    why: str = ""

    def __str__(self) -> str:
        found = (
            f"log2_lr {self.log2_lr:.2f} (rate {2**self.log2_lr:.3g}) by {self.rule}: {self.said}"
        )
        taken = " (your network is taken for one; name network= if it is not)" * self.assumed
        if self.cost is None:
            return f"{found}; {self.why} on {self.network}{taken}"
        depths = ", ".join(str(depth) for depth in self.cost.depths)
        depths = f"from depth {self.cost.shallow} to {depths}"
        far = ""
        if self.ratio > max(self.cost.depths) / self.cost.shallow:
            far = f"; yours is carried further, {self.ratio:.3g} times as deep"
        who, also, regret = "it", "", self.cost.regret
        if self.cost.exponent is not None:
            value, low, high, *_ = self.cost.exponent
            who = f"the exponent fitted there to depths up to {law.FITTED_TO}"
            who = f"{who} ({value:.2f} [{low:.2f}, {high:.2f}])"
            also = "; yours itself was not tried"
        lost = f"cost {regret.value:.3f} [{regret.low:.3f}, {regret.high:.3f}] in log loss"
        lost = f"{lost} against tuning"
        if math.isinf(regret.value):
            lost = "diverged"
        elif math.isnan(regret.value):
            lost = "lay outside of the rates that were trained"
        return f"{found}; on {self.network}{taken}, carried {depths}, {who} {lost}{also}{far}"


def rate(
    log2_lr: float,
    shallow: float | Trace,
    deep: float | Trace,
    *,
    rule: str | float,
    optimizer: str | None = None,
    network: str | None = None,
) -> Rate:
    """The rate of hidden matrices in the deep network, given the best one in the shallow, and what
    the rule cost on a kind of network measured here.

    Depths are effective depths, or what `trace` returns. `rule` is a name in RULES, or an exponent
    that you fitted yourself (-1.2: rate ~ L^(-1.2)). Under all_paths a traced network gives its own
    paths, a number those of a residual network of so many blocks. `network` is one of
    law.NETWORKS, which names its optimizer; left out, a traced network is of the kind that its
    trace shows, a number a chain, or a residual network under rules that are made for one, under
    `optimizer` (sgd, adam; sgd where it is left out), and a kind that was measured sixteen times
    deeper is taken where yours is more than eight times deeper. Raises Refused for depths that are
    equal or reversed, for unknown rules and networks, and for a rule that was not measured on a
    network that is named."""
    if network is not None and network not in law.NETWORKS:
        raise Refused(f"network {network!r} is not one of {'; '.join(law.NETWORKS)}")
    named = law.NETWORKS[network].optimizer.lower() if network else None
    if named and optimizer not in (None, named):
        raise Refused(f"optimizer {optimizer} is not that of network {network}; leave one out")
    optimizer = named or optimizer or "sgd"
    found = _carried(log2_lr, shallow, deep, rule, optimizer)
    traced = next((one for one in (deep, shallow) if isinstance(one, Trace)), None)
    near = network or _nearest(found.rule, traced, optimizer)
    cost, why = _cost(found, near)
    if network is None and found.ratio > FAR_FROM:
        far = f", {law.FAR}, ".join(near.rsplit(", ", 1))
        tried = _cost(found, far)
        if tried[0] is not None:
            near, (cost, why) = far, tried
    if cost is None and network and found.rule in RULES:
        raise Refused(
            f"rule {found.rule} was not measured on {network}; leave network out, or choose another"
        )
    return found._replace(network=near, assumed=network is None, cost=cost, why=why)


def _nearest(rule: str, traced: Trace | None, optimizer: str) -> str:
    """The kind of network that one is taken for where nobody says which it is, whether or not
    law.NETWORKS has it."""
    kind = "residual" if rule == "all_paths" or rule in OF_ONE else "chain"
    kind = traced.kind if traced else kind
    form = f", {OF_ONE.get(rule, 'variance form')}" if kind == "residual" else ""
    return f"{kind}{form}, {'SGD' if optimizer == 'sgd' else 'Adam'}"


def _cost(found: Rate, network: str) -> tuple[Cost | None, str]:
    """What the rule cost there, or why nobody knows: tables carry base rates, so that the power of
    depth which a parametrization gives the rate itself comes off its exponent."""
    if network not in law.NETWORKS or OF_ONE.get(found.rule, "") not in network:
        return None, UNKNOWN
    own, exponent, rule = law.NETWORKS[network].own, found.exponent, found.rule
    if exponent is not None:
        rule = MEASURED.get(exponent - own, law.FITTED if rule == OWN_FIT else "")
    elif own:
        return None, UNKNOWN
    cost = law.regret(store.read, network, rule)
    if cost is None or cost.exponent is None or exponent is None:
        return cost, "" if cost else UNKNOWN
    trained = [
        one
        for one, name in MEASURED.items()
        if (tried := law.regret(store.read, network, name)) and math.isfinite(tried.regret.value)
    ]
    low, high = min([cost.exponent.low, *trained]), max([cost.exponent.high, *trained])
    if low <= exponent <= high:
        return cost, ""
    return None, (
        f"no cost is given: exponents that were fitted to depths up to {law.FITTED_TO}, or tried "
        f"without diverging, lie between {low:.2f} and {high:.2f}"
    )


def _carried(
    log2_lr: float, shallow: float | Trace, deep: float | Trace, rule: str | float, optimizer: str
) -> Rate:
    """The rate by a rule, before what it costs is looked up; raises Refused."""
    start, end = _depth(shallow, "shallow"), _depth(deep, "deep")
    if not _finite(log2_lr):
        raise Refused(
            f"log2_lr {log2_lr!r} is not a finite number; give the base-2 logarithm of a rate"
        )
    if start == end:
        raise Refused(
            f"shallow and deep are both {start:g}: the rate stays; give two different depths"
        )
    if start > end:
        raise Refused(
            f"shallow is {start:g} and deep {end:g}, which is reversed: a rate is carried from the "
            "shallow network to the deeper one; swap them"
        )
    if optimizer not in OPTIMIZERS:
        raise Refused(f"optimizer {optimizer!r} {nearest(optimizer, OPTIMIZERS)}")
    if not isinstance(rule, str):
        if not _finite(rule):
            raise Refused(f"rule {rule!r} is no exponent; give a number such as -1.5, or a name")
        said = f"rate ~ L^({rule:g}), an exponent that you fitted yourself"
        at = log2_lr + rule * math.log2(end / start)
        return Rate(at, float(rule), OWN_FIT, said, end / start)
    if rule not in RULES:
        raise Refused(f"rule {rule!r} {nearest(rule, RULES)}; or give an exponent that you fitted")
    if rule in EXPONENTS:
        exponent = EXPONENTS[rule][OPTIMIZERS.index(optimizer)]
        at = log2_lr + exponent * math.log2(end / start)
        return Rate(at, exponent, rule, RULES[rule], end / start)
    if rule == "all_paths" and isinstance(shallow, Trace) and isinstance(deep, Trace):
        step = (_log2_cubes(shallow) - _log2_cubes(deep)) / 2
        own = f"{RULES[rule]}, of the traced networks"
        return Rate(log2_lr + step, None, rule, own, end / start)
    return Rate(log2_lr + PREDICTIONS[rule](end, start), None, rule, RULES[rule], end / start)


def _depth(said: float | Trace, which: str) -> float:
    """A depth as a number; raises Refused."""
    value = said.depth.value if isinstance(said, Trace) else said
    if isinstance(said, Trace) and value == 0:
        raise Refused(
            f"{which}: the path of fewest units counts none, so that the rate does not depend on "
            "depth by this convention; give depth.other, layers one after another"
        )
    if not _finite(value) or value < 1:
        raise Refused(
            f"{which} {value!r} is no depth; give an effective depth of at least 1, or what "
            "trace returns"
        )
    return float(value)


def _finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _log2_cubes(found: Trace) -> float:
    if not found.paths.cubes:
        raise Refused("all_paths: no path of the network holds a layer; use another rule")
    return math.log2(found.paths.cubes)
