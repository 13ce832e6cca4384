"""Training of a deep linear residual network of infinite width, exactly.

Every neuron is an independent copy of a column of fields h^l(t), g^l(t), each a linear
combination of Gaussian sources: the input u_in, the readout w, and for each block, time and
sample a forward source u (what the block's initial matrix makes of its input) and a backward
one r (what its transpose makes of the gradient). The solver keeps the coefficients; it marches
in training time, and at each time through the layers forward, then backward, so that nothing is
iterated. The coefficient of r(s) in h(t) is the response R(t, s), that of u(s) in g(t) is S.
Source: arXiv 2309.16620, as in sections 5.2, 5.3 and 5.5 of its spec.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fathom.theory.solution import Dynamics, Problem, Solution, problem, within

Array = NDArray[np.float64]
FORWARD, BACKWARD = 0, 1


class _Fields:
    """The coefficients of h and g, (layers + 1, kets, coefficients), a ket being step * samples
    + sample, and the kernels known so far. Coefficients are those of u_in (samples) and w, then
    of u and of r, block by block, (2, layers, kets)."""

    def __init__(self, given: Problem) -> None:
        self.samples, self.kets = len(given.y), given.steps * len(given.y)
        self.ends, self.sources = self.samples + 1, (2 * given.depth, self.kets)
        shape = (given.depth + 1, self.kets, self.ends + 2 * given.depth * self.kets)
        self.of = (np.zeros(shape), np.zeros(shape))
        self.kernels = np.zeros((2, given.depth + 1, self.kets, self.kets))
        self.covariance = np.zeros((2, given.depth, self.kets, self.kets))
        self.entrance = np.eye(self.ends)
        self.entrance[:-1, :-1] = given.kx

    def at(self, side: int, block: int) -> slice:
        """Where the sources of a side and block stand among the coefficients."""
        start = self.ends + (side * (len(self.of[0]) - 1) + block) * self.kets
        return slice(start, start + self.kets)

    def dual(self, field: Array) -> Array:
        """The covariance of fields (any, coefficients) with each source, same shape."""
        found = np.empty(field.shape)
        found[:, : self.ends] = field[:, : self.ends] @ self.entrance
        blocks = field[:, self.ends :].reshape(len(field), *self.sources)
        covariance = self.covariance.reshape(-1, self.kets, self.kets)
        found[:, self.ends :] = np.einsum(
            "bqk->qbk", np.einsum("qbk->bqk", blocks) @ covariance
        ).reshape(len(field), -1)
        return found

    def measure(self, side: int, layer: int, new: slice) -> Array:
        """The kernel of new kets with all up to them, (samples, seen), which is kept."""
        known = self.of[side][layer, : new.stop]
        found = self.dual(known[new]) @ known.T
        self.kernels[side, layer, new, : new.stop] = found
        self.kernels[side, layer, : new.stop, new] = found.T
        return found

    def vary(self, side: int, block: int, new: slice, kernel: Array) -> None:
        """Give new sources of a block their covariance (samples, seen) with all up to them."""
        self.covariance[side, block, new, : new.stop] = kernel
        self.covariance[side, block, : new.stop, new] = kernel.T


def linear_dmft(
    kx: ArrayLike,
    y: ArrayLike,
    p: ArrayLike,
    depth: int,
    eta_0: float,
    gamma_0: float,
    steps: int,
    *,
    beta: float = 1.0,
    train_ends: bool = True,
    responses: bool = True,
    budget: float = 4.0,
) -> Solution[Dynamics]:
    """Full-batch gradient descent of an infinitely wide linear residual network, exactly:
    h^{l+1} = h^l + beta L^-1/2 W^l h^l, f = w.h^L / (gamma_0 N), rate eta_0 gamma_0^2 N.

    kx (samples, samples): Gram matrix x.x'/D of the inputs; y, p (samples,): targets, and weights
    in half the squared error; depth: L. The last of `steps` times only predicts. train_ends:
    whether the input matrix and w are trained too. responses: False leaves out R and S, which is
    wrong at every depth (section 5.3). budget: GB. The residual is the largest difference
    over layers of f from <g^l h^l> / gamma_0, which the exact solution does not have. Raises
    ValueError for bad input or too little memory, NotConverged where training diverges.
    """
    given = problem(kx, y, p, depth, eta_0, gamma_0, steps, beta)
    need = 4e-8 * (given.depth * given.steps * len(given.y)) ** 2
    fits = int((budget / 4e-8) ** 0.5)
    within(budget, need, f"depth * steps * samples must be at most {fits} to fit")
    fields = _Fields(given)
    pull, outputs, losses = np.zeros(0), [], []
    residual = 0.0
    for step in range(given.steps):
        new = slice(step * len(given.y), (step + 1) * len(given.y))
        _forward(fields, given, new, pull, train_ends, responses)
        readout = fields.of[BACKWARD][-1, new.start]
        readout[len(given.y)] = 1
        if train_ends:
            readout += pull @ fields.of[FORWARD][-1, : new.start]
        fields.of[BACKWARD][-1, new] = readout
        outputs.append(_overlap(fields, -1, new) / gamma_0)
        losses.append(given.loss(outputs[-1]))
        _backward(fields, given, new, pull, responses)
        pull = np.append(pull, given.pull(outputs[-1]))
        for layer in range(given.depth):
            missed = np.abs(_overlap(fields, layer, new) / gamma_0 - outputs[-1])
            residual = max(residual, float(missed.max()))
    kernels = fields.kernels.reshape(2, depth + 1, *2 * (given.steps, len(given.y)))
    value = Dynamics(np.array(losses), np.array(outputs), *kernels)
    return Solution(value, residual, given.steps, Dynamics(*(np.zeros_like(one) for one in value)))


def _overlap(fields: _Fields, layer: int, new: slice) -> Array:
    """<g h> of each new ket at a layer, (samples,)."""
    return (fields.dual(fields.of[BACKWARD][layer, new]) * fields.of[FORWARD][layer, new]).sum(1)


def _forward(
    fields: _Fields, given: Problem, new: slice, pull: Array, train_ends: bool, responses: bool
) -> None:
    """Section 5.2's first and third lines at a time, with chi = u + R g."""
    stream, gradient = fields.of
    samples, past = len(given.y), new.start
    stream[0, new, :samples] = np.eye(samples)
    if train_ends:
        weights = np.tile(given.kx, (1, past // samples)) * pull
        stream[0, new] += weights @ gradient[0, :past]
    for block in range(given.depth):
        kernel = fields.measure(FORWARD, block, new)
        fields.vary(FORWARD, block, new, kernel)
        weights = given.branch**2 * pull * kernel[:, :past]
        if responses:
            answer = stream[block, new, fields.at(BACKWARD, block)]
            weights = weights + given.branch * answer[:, :past]
        stream[block + 1, new] = stream[block, new] + weights @ gradient[block + 1, :past]
        stream[block + 1, new, fields.at(FORWARD, block)][:, new] += given.branch * np.eye(samples)
    fields.measure(FORWARD, given.depth, new)


def _backward(fields: _Fields, given: Problem, new: slice, pull: Array, responses: bool) -> None:
    """Section 5.2's second line at a time, with xi = r + S h."""
    stream, gradient = fields.of
    past = new.start
    for block in reversed(range(given.depth)):
        kernel = fields.measure(BACKWARD, block + 1, new)
        fields.vary(BACKWARD, block, new, kernel)
        weights = given.branch**2 * pull * kernel[:, :past]
        if responses:
            answer = gradient[block + 1, new, fields.at(FORWARD, block)]
            weights = weights + given.branch * answer[:, :past]
        gradient[block, new] = gradient[block + 1, new] + weights @ stream[block, :past]
        fresh = gradient[block, new, fields.at(BACKWARD, block)]
        fresh[:, new] += given.branch * np.eye(len(given.y))
    fields.measure(BACKWARD, 0, new)
