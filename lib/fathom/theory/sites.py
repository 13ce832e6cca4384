"""Many sites of an infinitely wide residual network, marched through training.

A site is the column of one neuron's fields h^l(t), g^l(t), driven by Gaussian sources u (what a
block's initial matrix makes of phi(h)) and r (what its transpose makes of g), whose covariances
are the kernels of the fields, and by responses to those sources. Kernels and responses are
averages over sites. At each time the layers are passed forward, then backward.
Source: arXiv 2309.16620, as in sections 5.2, 5.3 and 5.5 of its spec.
"""

import numpy as np
from numpy.typing import NDArray

from fathom.theory.jets import JETS
from fathom.theory.responses import Responses
from fathom.theory.solution import Problem
from fathom.theory.sources import append, frame

Array = NDArray[np.float64]


class Sites:
    """The fields of all sites so far, (layers, sites, kets), a ket being step * samples + sample,
    and what is averaged over them, (layers, kets, kets). The second half of the sites are the
    first with r and w negated.

    bracket: what phi'(h^l) multiplies in g^l - g^{l+1}. chi, xi: what the initial matrices make
    of phi(h) and g, responses included. drift, memory: how g^{l+1} enters h^{l+1} and phi(h^l) the
    bracket. pull (kets so far): Problem.pull of the errors.
    """

    def __init__(
        self, given: Problem, phi: str, rng: np.random.Generator, pairs: int, responses: bool
    ) -> None:
        depth, samples, kets = given.depth, len(given.y), given.steps * len(given.y)
        self.given, self.jet = given, JETS[phi]
        self.responses = Responses(given, 2 * pairs) if responses else None
        shape = (depth + 1, 2 * pairs, kets)
        self.h, self.g, self.phi, self.slope, self.bend = np.zeros((5, *shape))
        self.bracket, self.chi, self.xi = np.zeros((3, depth, *shape[1:]))
        self.features, self.gradients = np.zeros((2, depth + 1, kets, kets))
        self.drift, self.memory, self.roots, self.back_roots = np.zeros((4, depth, kets, kets))
        self.pull = np.zeros(0)
        one, two = rng.spawn(2)
        forward = np.tile(frame(one, pairs, samples + kets * depth), (2, 1))
        backward = frame(two, pairs, 1 + kets * depth)
        backward = np.concatenate([backward, -backward])
        root = np.zeros((samples, samples))
        append(root, given.kx, slice(0, samples))
        self.entrance, self.w = forward[:, :samples] @ root.T, backward[:, 0]
        order = (2 * pairs, given.steps, depth, samples)
        self.normals, self.back_normals = (
            np.moveaxis(drawn.reshape(order), 2, 0).reshape(depth, 2 * pairs, kets)
            for drawn in (forward[:, samples:], backward[:, 1:])
        )

    def _bend(self, layer: int, new: slice) -> None:
        """phi of the new kets at a layer, with its derivatives and kernel."""
        found = self.jet(self.h[layer][:, new])
        for whole, part in zip((self.phi, self.slope, self.bend), found, strict=True):
            whole[layer][:, new] = part
        _measure(self.features[layer], self.phi[layer], new)

    def forward(self, new: slice) -> Array:
        """Section 5.2's first and third lines at a time, with chi = u + R g; the outputs."""
        given, past, branch = self.given, new.start, self.given.branch
        entrance = np.tile(given.kx, (1, past // len(given.y))) * self.pull
        self.h[0][:, new] = self.entrance + self.g[0][:, :past] @ entrance.T
        if self.responses:
            self.responses.enter(entrance)
        for block in range(given.depth):
            self._bend(block, new)
            answer = self._forward_response(block, new)
            drift = branch**2 * self.pull * self.features[block, new, :past]
            append(self.roots[block], self.features[block], new)
            source = _draw(self.normals[block], self.roots[block], new)
            before = self.g[block + 1][:, :past]
            self.chi[block][:, new] = source + before @ answer.T
            self.h[block + 1][:, new] = (
                self.h[block][:, new] + branch * self.chi[block][:, new] + before @ drift.T
            )
            self.drift[block, new, :past] = drift + branch * answer
            if self.responses:
                self.responses.rise(
                    block,
                    self.slope[block][:, :past],
                    (self.bend[block] * self.bracket[block])[:, :past],
                    self.memory[block, :past, :past],
                    self.drift[block, new, :past],
                )
        self._bend(given.depth, new)
        if self.responses:
            self.responses.forward(given.depth, past)
        readout = self.w + self.phi[-1][:, :past] @ self.pull
        self.g[-1][:, new] = readout[:, None] * self.slope[-1][:, new]
        if self.responses:
            self.responses.leave(self._last_reflection(readout, new), new)
        return readout @ self.phi[-1][:, new] / len(readout) / given.gamma_0

    def _forward_response(self, block: int, new: slice) -> Array:
        """R's new rows, (samples, past)."""
        past, slope = new.start, self.slope[block]
        if not self.responses or not past:
            return np.zeros((new.stop - past, past))
        found = self.responses.forward(block, past) * slope[:, None, :past]
        mean = np.einsum("nq,nqk->qk", slope[:, new], found) / len(slope)
        return self.given.branch * mean

    def _last_reflection(self, readout: Array, new: slice) -> Array:
        """How g^L at a time answers h^L up to it, (sites, samples, seen)."""
        samples, past, slope = len(self.given.y), new.start, self.slope[-1]
        found = np.zeros((len(readout), samples, new.stop))
        found[:, :, :past] = slope[:, new, None] * (slope[:, :past] * self.pull)[:, None]
        own = np.arange(samples)
        found[:, own, past + own] = readout[:, None] * self.bend[-1][:, new]
        return found

    def backward(self, new: slice, equal_time: bool) -> None:
        """Section 5.2's second line at a time, with xi = r + S phi(h)."""
        given, past, branch = self.given, new.start, self.given.branch
        for block in reversed(range(given.depth)):
            _measure(self.gradients[block + 1], self.g[block + 1], new)
            answer = np.zeros((len(given.y), new.stop))
            if self.responses:
                answer = branch * self.responses.backward(block + 1, new)
            if not equal_time:
                answer[:, new] = 0
            memory = np.zeros_like(answer)
            memory[:, :past] = branch**2 * self.pull * self.gradients[block + 1, new, :past]
            append(self.back_roots[block], self.gradients[block + 1], new)
            source = _draw(self.back_normals[block], self.back_roots[block], new)
            seen = self.phi[block][:, : new.stop]
            self.xi[block][:, new] = source + seen @ answer.T
            self.bracket[block][:, new] = branch * self.xi[block][:, new] + seen @ memory.T
            self.memory[block, new, : new.stop] = memory + branch * answer
            self.g[block][:, new] = (
                self.g[block + 1][:, new] + self.slope[block][:, new] * self.bracket[block][:, new]
            )
            if self.responses:
                self.responses.descend(
                    block,
                    self.slope[block][:, : new.stop],
                    (self.bend[block] * self.bracket[block])[:, new],
                    self.memory[block, new, : new.stop],
                    self.drift[block, : new.stop, :past],
                    new,
                )
        _measure(self.gradients[0], self.g[0], new)

    def mismatch(self) -> float:
        """RMS difference of <g^{l+1}(s) chi^l(t)> and <xi^l(s) phi(h^l(t))>, which both are
        g W phi / N^(3/2), as a share of the sizes of the two."""
        left = np.swapaxes(self.g[1:], 1, 2) @ self.chi / len(self.w)
        right = np.swapaxes(self.xi, 1, 2) @ self.phi[:-1] / len(self.w)
        sizes = np.diagonal(self.gradients[1:], 0, 1, 2), np.diagonal(self.features[:-1], 0, 1, 2)
        scale = np.sqrt(sizes[0][:, :, None] * sizes[1][:, None])
        return float(np.sqrt((((left - right) / scale) ** 2).mean()))


def _measure(kernel: Array, field: Array, new: slice) -> None:
    """Write the kernel (kets, kets) of new kets of a field (sites, kets) with all up to them."""
    found = field[:, new].T @ field[:, : new.stop] / len(field)
    kernel[new, : new.stop] = found
    kernel[: new.stop, new] = found.T


def _draw(normals: Array, root: Array, new: slice) -> Array:
    """New kets (sites, samples) of a Gaussian process from its Cholesky factor."""
    return normals[:, : new.stop] @ root[new, : new.stop].T
