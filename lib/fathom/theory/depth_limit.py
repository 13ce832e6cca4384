"""Infinite depth from a few finite ones."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fathom.theory.solution import Dynamics, NotConverged, Solution

Array = NDArray[np.float64]


def depth_limit(
    solve: Callable[[int], Solution[Dynamics]],
    depths: Sequence[int] = (8, 16, 32),
    tolerance: float = 0.02,
) -> Solution[Dynamics]:
    """What `solve` tends to as its argument, the depth, grows: a polynomial in 1/depth through its
    values at `depths`, at depth infinity (Richardson). Kernels are given at the places of the
    layers of the first depth, of which the others must be multiples.

    error is the standard error plus the change when the first depth is left out, residual its
    largest in the outputs, as a share of the largest output. Raises ValueError for other depths,
    NotConverged where the residual exceeds the tolerance.
    """
    first = depths[0] if len(depths) else 0
    if len(depths) < 2 or any(b <= a or b % first for a, b in pairwise(depths)):
        raise ValueError(
            f"depths must be at least two, ascending and multiples of the first, not {list(depths)}"
        )
    found = [solve(depth) for depth in depths]
    values = [
        _at_layers(one.value, depth // first) for one, depth in zip(found, depths, strict=True)
    ]
    errors = [
        _at_layers(one.error, depth // first) for one, depth in zip(found, depths, strict=True)
    ]
    weights, fewer = _weights(depths), np.append(0, _weights(depths[1:]))
    value, lower = _mix(values, weights), _mix(values, fewer)
    spread = Dynamics(
        *(
            np.sqrt(np.tensordot(weights**2, np.stack(part) ** 2, 1))
            for part in zip(*errors, strict=True)
        )
    )
    change = Dynamics(*(np.abs(one - two) for one, two in zip(value, lower, strict=True)))
    error = Dynamics(*(one + two for one, two in zip(spread, change, strict=True)))
    residual = float(change.outputs.max() / np.abs(value.outputs).max())
    if residual > tolerance:
        raise NotConverged(
            f"the outputs change by {residual:.2g} when depth {first} is left out, above the "
            f"tolerance {tolerance:g}: append depth {2 * depths[-1]}, which takes two to four "
            f"times as long as depth {depths[-1]}"
        )
    return Solution(value, residual, sum(one.steps for one in found), error)


def _weights(depths: Sequence[int]) -> Array:
    """Of the values at depths in the value at 1/depth = 0 of the polynomial through them."""
    at = 1 / np.asarray(depths, float)
    others = [np.delete(at, i) for i in range(len(at))]
    return np.array([np.prod(other / (other - own)) for own, other in zip(at, others, strict=True)])


def _mix(values: Sequence[Dynamics], weights: Array) -> Dynamics:
    return Dynamics(
        *(np.tensordot(weights, np.stack(part), 1) for part in zip(*values, strict=True))
    )


def _at_layers(value: Dynamics, stride: int) -> Dynamics:
    """With the kernels at every stride-th layer only."""
    return value._replace(features=value.features[::stride], gradients=value.gradients[::stride])
