"""Which rule carries a rate to a deeper network of each kind, and what it costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fathom.law.curves import each
from fathom.law.interval import Interval, interval, minus, where
from fathom.law.measures import slope


class Kind(NamedTuple):
    """A kind of network: the table of transferred rates that holds it, the rows that are it, the
    optimizer, and the power of depth that its parametrization gives the rate of hidden matrices:
    the table's rules carry the base rate, which has none. `fitted` is the table, where there is
    one, in which an exponent fitted to shallower depths carries the rate; `shallow` is the depth
    that rates are carried from."""

    table: str
    rows: Mapping[str, Any]
    optimizer: str
    own: float = 0.0
    fitted: str = ""
    shallow: int = 3


class Cost(NamedTuple):
    """What a rule costs in log loss above the best, the depth it was carried from, the deeper
    networks it is averaged over, the rule that was measured, and under the rule FITTED the exponent
    that was fitted, over seeds."""

    regret: Interval
    shallow: int
    depths: tuple[int, ...]
    rule: str
    exponent: Interval | None = None


FAR = "16 times deeper"  # in the name of a kind whose rates are carried from depth 3 to 48
FITTED = "fitted"  # the rule that carries a rate by an exponent fitted to depths up to FITTED_TO
FITTED_TO = 6  # the anchor of its table
_CHAIN = {"task": "fashion14", "phi": "relu", "rules": "sp", "steps": 469, "width": 128}
_FROM_THREE = {"depth": [6, 8, 12, 16, 24]}
_ZERO = {"rules": "am_mup", "order": "pre", "block_depth": 1, "train_ends": True, **_FROM_THREE}
_BLOCK = {"family": "resconv", "norm": "none", "dropout": 0.0, **_FROM_THREE}
_BLOCK |= {"seed": [621, 622, 623, 624, 625]}  # the others have the rates near the optimum only
_LAYERS = {"depth": [2, 4, 8]}
_ALL_RULES = {"seed": [611, 612, 613, 614, 615]}  # as there


def _kinds() -> dict[str, Kind]:
    residual, images = "law/laws_residual_transfer", "law/laws_images_transfer"
    chain, transformers = "law/laws_chain_transfer", "law/laws_transformers_transfer"
    found: dict[str, Kind] = {}
    for kind, name in (("sgd", "SGD"), ("adam", "Adam")):
        own = {"kind": kind}
        fitted = "law/laws_chain_fitted" if kind == "sgd" else ""
        found[f"chain, {name}"] = Kind(chain, {**_CHAIN, **_FROM_THREE, **own}, name, 0.0, fitted)
        found[f"residual, variance form, {name}"] = Kind(residual, {**_ZERO, **own}, name)
        multiplier = {"rules": "depth_mup", **_FROM_THREE, **own, **_ALL_RULES}
        own_power = 0.0 if kind == "sgd" else -1 / 2
        found[f"residual, Depth-muP, {name}"] = Kind(residual, multiplier, name, own_power)
        for place, said in (("post", "norm after"), ("pre", "norm before")):
            rows = {"family": "vit", "placement": place, **_LAYERS, **own}
            found[f"ViT, {said}, {name}"] = Kind(transformers, rows, name, shallow=1)
        text = {"family": "lm", **_LAYERS, **own}
        found[f"language model, {name}"] = Kind(transformers, text, name, shallow=1)
    completep = {"rules": "ode", "kind": "adam", **_FROM_THREE, **_ALL_RULES}
    for name, family in (("chain", "mlp"), ("residual, Depth-muP", "resmlp")):
        deep = {"family": family, "depth": 48}
        found[f"{name}, {FAR}, SGD"] = Kind("law/laws_deep_transfer", deep, "SGD")
    found["residual, CompleteP, Adam"] = Kind(residual, completep, "Adam")
    found["residual, block z + phi(W z), SGD"] = Kind(
        residual, {"rules": "am_mup", "order": "post", **_FROM_THREE}, "SGD"
    )
    rules = ["constant", "inverse", "three_halves", "finite_depth"]  # a chain has one path
    chain_rows = {"family": "cnn", "prediction": rules, **_FROM_THREE}
    found["convolutions, chain, SGD"] = Kind(images, chain_rows, "SGD")
    arms = {"family": "cnn", "kind": "adam", "prediction": rules, "depth": [6, 12]}
    found["convolutions, chain, Adam"] = Kind("law/laws_image_arms_transfer", arms, "Adam")
    found["convolutions, residual, SGD"] = Kind(images, {**_BLOCK, "order": "pre"}, "SGD")
    return dict(sorted(found.items()))


NETWORKS = _kinds()


def regrets(read: Callable[[str], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What each rule costs on each kind of network (a key of NETWORKS) in log loss above the best,
    averaged over deeper networks: columns prediction, value, low, high, seeds. `read` gives a
    table by its name; rates are carried from depth 3, of transformers from one layer, to the
    `deeper` ones. The value is infinite where a run diverges, else NaN where a rate lies outside
    of those that were trained."""
    tables = {name: read(name) for name in {kind.table for kind in NETWORKS.values()}}
    return {label: _costs(where(tables[kind.table], kind.rows)) for label, kind in NETWORKS.items()}


def _costs(rows: pd.DataFrame) -> pd.DataFrame:
    """What each rule costs in some rows of a table of transferred rates."""
    found = each("mean_regret", rows, ["prediction"])
    diverged = rows.loc[rows["regret"] == np.inf, "prediction"]
    return found.assign(value=found["value"].mask(found["prediction"].isin(diverged), np.inf))


def deeper(read: Callable[[str], pd.DataFrame], network: str) -> tuple[int, ...]:
    """The depths to which rates were carried on one kind of network."""
    kind = NETWORKS[network]
    return tuple(
        sorted(int(depth) for depth in where(read(kind.table), kind.rows)["depth"].unique())
    )


def regret(read: Callable[[str], pd.DataFrame], network: str, rule: str) -> Cost | None:
    """The regret of one rule for the base rate on one kind of network; None where it was not
    measured. Raises LookupError where there is no such kind."""
    if network not in NETWORKS:
        raise LookupError(f"network {network!r} is not one of {'; '.join(NETWORKS)}")
    kind = NETWORKS[network]
    table, seen = (kind.fitted, FITTED_TO) if rule == FITTED else (kind.table, 0)
    if not table:
        return None
    carried = where(read(table), kind.rows)
    rows = carried[(carried["prediction"] == rule) & (carried["depth"] > seen)]
    if rows.empty:
        return None
    (one,) = _costs(rows).to_dict("records")
    cost = Interval(one["value"], one["low"], one["high"], int(one["seeds"]))
    depths = tuple(sorted(int(depth) for depth in rows["depth"].unique()))
    if rule != FITTED:
        return Cost(cost, kind.shallow, depths, rule)
    every = {name: said for name, said in kind.rows.items() if name != "depth"}
    near = where(read(table), {**every, "prediction": rule})
    near = near[near["depth"] <= seen]
    optima = near.assign(optimum=near["log2_lr"] - near["missed"], flag="")
    return Cost(cost, seen, depths, rule, slope(optima, along="depth", given={}))


def advice(read: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """For every kind of network the rule that costs least and the one that costs most: columns
    network, optimizer, depths, rule, alike (the rules not told apart from it, the cheaper first),
    regret, low, high, worst, worst_regret (infinite where a run diverges), untrained (the rules
    whose rate lies outside of those that were trained, which are neither alike nor worst). `worst`
    is empty, its regret NaN, where the dearest rule is not told apart from the cheapest."""
    rows = []
    for label, found in regrets(read).items():
        kind = NETWORKS[label]
        ranked = found.sort_values("value")  # NaN comes last
        best, *others = ranked.to_dict("records")
        untrained = tuple(ranked.loc[ranked["value"].isna(), "prediction"])
        others = [one for one in others if one["prediction"] not in untrained]
        alike = _alike(where(read(kind.table), kind.rows), best, others)
        worst = {"prediction": "", "value": np.nan}
        if others and others[-1]["prediction"] not in alike:
            worst = others[-1]
        rows.append(
            {
                "network": label.rsplit(", ", 1)[0],
                "optimizer": kind.optimizer,
                "depths": ", ".join(str(depth) for depth in deeper(read, label)),
                "rule": best["prediction"],
                "alike": alike,
                "regret": best["value"],
                "low": best["low"],
                "high": best["high"],
                "worst": worst["prediction"],
                "worst_regret": worst["value"],
                "untrained": untrained,
            }
        )
    return pd.DataFrame(rows)


def _alike(
    rows: pd.DataFrame, best: Mapping[Any, Any], others: Sequence[Mapping[Any, Any]]
) -> tuple[str, ...]:
    """The rules with a finite cost whose regret, averaged over depths seed by seed, differs from
    the best rule's by an interval over seeds that contains zero."""
    seeds = rows.groupby(["prediction", "seed"])["regret"].mean()
    found = []
    for name in (one["prediction"] for one in others if np.isfinite(one["value"])):
        gap = interval(minus(seeds[name], seeds[best["prediction"]]).to_numpy(float))
        if gap.low <= 0 <= gap.high:
            found.append(name)
    return tuple(found)
