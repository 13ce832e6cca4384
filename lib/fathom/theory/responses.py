"""How each site's fields respond to its own sources, exactly and only where it is needed.

The responses R^l(t, s) = <d phi(h^l(t)) / d r^l(s)> and S^l(t, s) = <d g^{l+1}(t) / d u^l(s)>
need derivatives with respect to the sources of the same block alone. At a given site these are
Green's functions of a linear two-point problem in depth, so two reflections suffice: with no
source below layer l, dh^l = A_l dg^l; with none above, dg^l = B_l dh^l. A source that enters
g^l answers with N_l = (1 - A_l B_l)^-1 A_l in h^l, one that enters h^l with
F_l = B_l + B_l N_l B_l in g^l. All are causal in training time, so each gains rows as time
goes on. Time and memory are linear in depth, where carrying all derivatives is quadratic.
"""

import numpy as np
from numpy.typing import NDArray

from fathom.theory.solution import Problem

Array = NDArray[np.float64]


class Responses:
    """The reflections of all sites so far, (layers, sites, kets, kets), a ket being
    step * samples + sample: rows are what answers, columns where it was caused.

    below: M_l = (1 - A_l D_l)^-1 A_l, A_{l+1} = M_l + C_l. above: E_l = B_{l+1}
    (1 - C_l B_{l+1})^-1, B_l = E_l + D_l. C_l, of all sites, says how g^{l+1} enters h^{l+1}; D_l
    how h^l enters g^l.
    """

    def __init__(self, given: Problem, sites: int) -> None:
        kets = given.steps * len(given.y)
        self.branch, self.depth = given.branch, given.depth
        shape = (given.depth, sites, kets, kets)
        self.below, self.above = np.zeros(shape), np.zeros(shape)
        self.green, self.reflection = np.zeros((2, given.depth + 1, *shape[1:]))
        self.row = np.zeros((sites, len(given.y), 0))

    @staticmethod
    def gigabytes(depth: int, kets: int, sites: int) -> float:
        """The memory it takes."""
        return 8e-9 * (4 * depth + 2) * sites * kets**2

    def enter(self, weights: Array) -> None:
        """Start at the input: dh^0(t) is `weights` (samples, past) times dg^0, at all sites."""
        self.row = np.broadcast_to(weights, (len(self.row), *weights.shape))

    def forward(self, layer: int, past: int) -> Array:
        """Add N_l's new rows to it, and return them (sites, samples, past)."""
        green, new = self.green[layer], slice(past, past + self.row.shape[1])
        turned = self.row @ self.reflection[layer][:, :past, :past]
        found = self.row + turned @ green[:, :past, :past]
        green[:, new, :past] = found
        return found

    def rise(self, layer: int, slope: Array, bend: Array, memory: Array, drift: Array) -> None:
        """From A_l's new rows to A_{l+1}'s, past a block: slope (sites, past) is phi'(h^l), bend
        (sites, past) phi''(h^l) times what it multiplies in g^l, memory (past, past) how phi(h^l)
        enters g^l there, drift (samples, past) C_l's new rows."""
        below, past = self.below[layer], len(memory)
        new = slice(past, past + len(drift))
        turned = _each(self.row * slope[:, None], memory) * slope[:, None]
        turned += self.row * bend[:, None]
        found = self.row + turned @ below[:, :past, :past]
        below[:, new, :past] = found
        self.row = found + drift

    def leave(self, row: Array, new: slice) -> None:
        """Start at the readout: B_L's new rows (sites, samples, seen)."""
        self.row = row
        self.reflection[self.depth][:, new, : new.stop] = row

    def backward(self, layer: int, new: slice) -> Array:
        """The site average of F_l's new rows, (samples, seen)."""
        past, row = new.start, self.row
        turned = row @ self.green[layer][:, : new.stop, :past]
        found = row.mean(axis=0)
        found[:, :past] += (turned @ self.reflection[layer][:, :past, :past]).mean(axis=0)
        return found

    def descend(
        self, layer: int, slope: Array, bend: Array, memory: Array, drift: Array, new: slice
    ) -> None:
        """From B_{l+1}'s new rows to B_l's, past a block: as for `rise`, but slope (sites, seen),
        bend (sites, samples) at the new time, memory (samples, seen) its new rows and drift
        (seen, past) C_l."""
        above, past = self.above[layer], new.start
        found = self.row.copy()
        found[:, :, :past] += _each(self.row, drift) @ above[:, :past, :past]
        above[:, new, : new.stop] = found
        found += memory * slope[:, new, None] * slope[:, None]
        own = np.arange(past, new.stop)
        found[:, own - past, own] += bend
        self.row = found
        self.reflection[layer][:, new, : new.stop] = found


def _each(rows: Array, matrix: Array) -> Array:
    """rows (sites, samples, any) times one matrix for all sites, as a single product."""
    flat = rows.reshape(rows.shape[0] * rows.shape[1], rows.shape[2]) @ matrix
    return flat.reshape(*rows.shape[:2], matrix.shape[1])
