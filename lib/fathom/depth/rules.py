"""The learning rate for another depth, by the rules that the literature gives."""

import math
from typing import NamedTuple

from fathom import law, store
from fathom.depth.trace import Trace
from fathom.law import PREDICTIONS, Interval
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


class Rate(NamedTuple):
    """A rate for the deeper network: its base-2 logarithm, the exponent in depth where the rule is
    a power, the rule, what it says, and what it cost where it was measured: log loss above the
    deeper network's own best rate, on the kind of network that is nearest (None where it was not
    measured; not finite where runs diverged or the rate left the grid)."""

    log2_lr: float
    exponent: float | None
    rule: str
    said: str
    network: str = ""
    regret: Interval | None = None

    def __str__(self) -> str:
        rate = (
            f"log2_lr {self.log2_lr:.2f} (rate {2**self.log2_lr:.3g}) by {self.rule}: {self.said}"
        )
        if self.regret is None:
            return f"{rate}; what this costs was not measured on {self.network}"
        if not math.isfinite(self.regret.value):
            return f"{rate}; on {self.network} it diverged, or missed every rate that was trained"
        low, high = self.regret.low, self.regret.high
        cost = f"{self.regret.value:.3f} [{low:.3f}, {high:.3f}]"
        return f"{rate}; on {self.network} it cost {cost} in log loss against tuning"


def rate(
    log2_lr: float,
    shallow: float | Trace,
    deep: float | Trace,
    *,
    rule: str | float = "finite_depth",
    optimizer: str = "sgd",
    network: str | None = None,
) -> Rate:
    """The rate at which to train the deep network, given the best one of the shallow, and what the
    rule cost on the kind of network measured here that is nearest.

    Depths are effective depths, or what `trace` returns. `rule` is a name in RULES, or an exponent
    of your own (-1.2: rate ~ L^(-1.2)). Under all_paths a traced network gives its own paths, a
    number those of a residual network of so many blocks. `optimizer` (sgd, adam) decides the
    exponent of depth_mup and completep. `network` is one of law.NETWORKS; left out, a traced
    network without additions, or a number, is taken for a chain, one with additions for a residual
    network in its variance form. Raises Refused for depths that are equal or reversed, for unknown
    rules and networks, and for a rule that has no table for a network that is named."""
    found = _carried(log2_lr, shallow, deep, rule, optimizer)
    name = "SGD" if optimizer == "sgd" else "Adam"
    multiplier = found.rule in ("depth_mup", "completep")
    blocks = multiplier or (isinstance(shallow, Trace) and shallow.additions > 0)
    form = "Depth-muP" if multiplier else "variance form"
    near = network or (f"residual, {form}, {name}" if blocks else f"chain, {name}")
    if near not in law.NETWORKS:
        raise Refused(f"network {near!r} {nearest(near, law.NETWORKS)}")
    # what a parametrization prescribes is a base rate that stays
    measured = "constant" if found.rule == "depth_mup" else found.rule
    regret = law.regret(store.read, near, measured)
    if regret is None and network and found.rule in RULES:
        raise Refused(
            f"rule {found.rule} was not measured on {network}; leave network out, or choose another"
        )
    return found._replace(network=near, regret=regret)


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
        said = f"rate ~ L^({rule:g}), an exponent of your own"
        return Rate(log2_lr + rule * math.log2(end / start), float(rule), f"L^({rule:g})", said)
    if rule not in RULES:
        raise Refused(f"rule {rule!r} {nearest(rule, RULES)}; or give an exponent of your own")
    if rule in EXPONENTS:
        exponent = EXPONENTS[rule][OPTIMIZERS.index(optimizer)]
        return Rate(log2_lr + exponent * math.log2(end / start), exponent, rule, RULES[rule])
    if rule == "all_paths" and isinstance(shallow, Trace) and isinstance(deep, Trace):
        step = (_log2_cubes(shallow) - _log2_cubes(deep)) / 2
        return Rate(log2_lr + step, None, rule, f"{RULES[rule]}, of the traced networks")
    return Rate(log2_lr + PREDICTIONS[rule](end, start), None, rule, RULES[rule])


def _depth(said: float | Trace, which: str) -> float:
    """A depth as a number; raises Refused."""
    value = said.depth.value if isinstance(said, Trace) else said
    if not _finite(value) or value < 1:
        raise Refused(
            f"{which} {value!r} is no depth; give an effective depth of at least 1, or what "
            "trace returns"
        )
    return float(value)


def _finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def _log2_cubes(found: Trace) -> float:
    if not found.paths.cubes:
        raise Refused("all_paths: no path of the network holds a layer; use another rule")
    return math.log2(found.paths.cubes)
