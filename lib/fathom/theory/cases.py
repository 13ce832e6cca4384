"""Cases of infinite networks as rows of a table, each solver with the columns that it makes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

import numpy as np
import tqdm
from numpy.typing import NDArray

from fathom.theory.depth_limit import depth_limit
from fathom.theory.dmft import dmft
from fathom.theory.flow import Ntk, lazy_training, ntk_finite, ntk_limit
from fathom.theory.kernel import layer_averages
from fathom.theory.linear_dmft import linear_dmft
from fathom.theory.one_datum import one_step_features
from fathom.theory.solution import Dynamics, NotConverged, Solution

BAR: Any = {"unit": " networks", "delay": 2, "leave": False, "disable": None}
Array = NDArray[np.float64]
Row = dict[str, Any]
DEEP = (16, 32, 64)  # depths that infinite depth is extrapolated from, for a linear network
MOST = 32  # places in depth at which one step is shown
PLACES = {"input": 0.0, "quarter": 1 / 4, "half": 1 / 2, "three_quarters": 3 / 4, "last": 1.0}
COLUMNS = {
    "Kernels": ("angle", "nngp", "ntk", "nngp_limit", "ntk_limit", "off"),
    "OneStep": ("place", "feature", "feature_limit", "off"),
    "Training": (
        *("loss_full_limit", "loss_largest_limit", "output_first_limit", "output_last_limit"),
        *(f"{kernel}_{place}_limit" for kernel in ("feature", "gradient") for place in PLACES),
        *("error", "off"),
    ),
}


def rows(cases: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Row]:
    """The rows of cases, each given as its own columns and what its solver is called with, of which
    `solve` names it: a key of COLUMNS, where the columns that it adds are. Training that differs
    in nothing but how long it lasts is solved once."""
    asked, found, solved = list(cases), [], dict[tuple[Any, ...], Any]()
    longest: dict[tuple[Any, ...], int] = {}
    for _, given in asked:
        longest[_same(given)] = max(longest.get(_same(given), 0), given.get("steps", 0))
    for columns, given in tqdm.tqdm(asked, **BAR):
        said, same = dict(given), _same(given)
        make = SOLVERS[said.pop("solve")]
        if same not in solved:
            more = {"steps": longest[same]} if "steps" in said else {}
            solved[same] = make(**(said | more))
        step = given.get("steps", 0)
        found += [{**columns, **row} for row in solved[same] if row.get("step", step) == step]
    return [{name: value for name, value in row.items() if name != "step"} for row in found]


def _same(given: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in given.items()
        if name != "steps"
    )


def _kernels(phi: str, depth: int, angles: int) -> list[Row]:
    """NNGP and NTK of two inputs at angles from 0 to pi, read out from phi, at this depth and at
    infinite depth; off is the mean square over angles of the NTK's difference from there."""
    angle = np.linspace(0, np.pi, angles)
    here, deep = ntk_finite(phi, _turned(angles), depth), _deep(phi, angles)
    pairs = {
        "nngp": here.readout[:, 0, 1],
        "ntk": here.total[:, 0, 1],
        "nngp_limit": deep.readout[:, 0, 1],
        "ntk_limit": deep.total[:, 0, 1],
    }
    off = float(((pairs["ntk"] - pairs["ntk_limit"]) ** 2).mean())
    return [
        {"angle": float(angle[i]), **{name: float(v[i]) for name, v in pairs.items()}, "off": off}
        for i in range(angles)
    ]


def _turned(angles: int) -> Array:
    """Gram matrices (angles, 2, 2) of two inputs of mean square 1."""
    kx = np.ones((angles, 2, 2))
    kx[:, 0, 1] = kx[:, 1, 0] = np.cos(np.linspace(0, np.pi, angles))
    return kx


@cache  # one for all depths
def _deep(phi: str, angles: int) -> Ntk:
    return ntk_limit(phi, _turned(angles)).value


def _one_step(depth: int, strength: float, train_ends: bool) -> list[Row]:
    """The mean square of the stream along depth after a step, and in closed form; off is the root
    mean square over places of its relative difference from there."""
    found = linear_dmft([[1.0]], [1.0], [1.0], depth, strength, 1.0, 2, train_ends=train_ends)
    layers = np.arange(0, depth + 1, max(1, depth // MOST))
    feature = found.value.features[layers, 1, 0, 1, 0]
    closed = one_step_features(layers / depth, strength, train_ends=train_ends)
    off = float(np.sqrt(((feature / closed - 1) ** 2).mean()))
    return [
        {"place": place, "feature": here, "feature_limit": there, "off": off}
        for place, here, there in zip(
            (layers / depth).tolist(), feature.tolist(), closed.tolist(), strict=True
        )
    ]


def _training(depths: Sequence[int], steps: int, **given: Any) -> list[Row]:
    """Training step by step, at one depth or, from several, at infinite depth: loss, its largest
    value so far, outputs of the first and the last sample, and the mean squares of phi(h) and g of
    the first one along depth; error, the largest standard error of an output; off, of a linear
    network, the root mean square over samples of the outputs' difference from those at infinite
    depth (with responses), where these converge."""
    solve = partial(_solved, steps=steps + 1, **given)
    found = depth_limit(solve, depths) if len(depths) > 1 else solve(depths[0])
    off = np.full(steps + 1, np.nan)
    if given["phi"] == "linear" and not given["lazy"]:
        whole = partial(_solved, steps=steps + 1, **{**given, "responses": True})
        with suppress(NotConverged):  # the rate may be too large there, and not here
            deep = depth_limit(whole, DEEP).value.outputs
            off = np.sqrt(((found.value.outputs - deep) ** 2).mean(axis=1))
    return [_at(found, step, float(off[step])) for step in range(1, steps + 1)]


def _solved(
    depth: int, *, phi: str, lazy: bool, train_ends: bool, responses: bool, sites: int, **given: Any
) -> Solution[Dynamics]:
    """Training by the solver for such a network."""
    if lazy:
        return _lazy(phi, depth, **given)
    if phi == "linear":
        return linear_dmft(depth=depth, train_ends=train_ends, responses=responses, **given)
    return dmft(phi, depth=depth, sites=sites, responses=responses, **given)


def _lazy(
    phi: str, depth: int, *, kx: Array, y: Array, p: Array, eta_0: float, gamma_0: float, steps: int
) -> Solution[Dynamics]:
    """Training linear in the kernel of the start, which gamma_0 does not enter; kernels stay."""
    start = ntk_finite(phi, kx, depth)
    losses, outputs = lazy_training(start.total, y, p, eta_0, steps)
    still = layer_averages(phi, start.stream).features, start.gradient
    shape = (depth + 1, steps, len(y), steps, len(y))
    kernels = (np.broadcast_to(one[:, None, :, None], shape) for one in still)
    value = Dynamics(losses, outputs, *kernels)
    return Solution(value, 0.0, steps, Dynamics(*(np.zeros_like(one) for one in value)))


def _at(found: Solution[Dynamics], step: int, off: float) -> Row:
    value, layers = found.value, len(found.value.features) - 1
    kernels = {
        f"{kernel}_{name}_limit": float(along[round(place * layers), step, 0, step, 0])
        for kernel, along in (("feature", value.features), ("gradient", value.gradients))
        for name, place in PLACES.items()
    }
    return {
        "step": step,
        "loss_full_limit": float(value.losses[step]),
        "loss_largest_limit": float(value.losses[: step + 1].max()),
        "output_first_limit": float(value.outputs[step, 0]),
        "output_last_limit": float(value.outputs[step, -1]),
        **kernels,
        "error": float(found.error.outputs[step].max()),
        "off": off,
    }


SOLVERS: dict[str, Callable[..., list[Row]]] = {
    "Kernels": _kernels,
    "OneStep": _one_step,
    "Training": _training,
}
