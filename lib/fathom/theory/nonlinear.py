"""The infinite-width, infinite-depth limit of a residual network with a smooth nonlinearity.

The program of `fathom.theory.linear` at Depth-muP, where a block's forward base variable is
MS phi(g), MS being the subtraction of the mean over neurons, and Gaussian averages of phi
and its derivatives over the pre-activations g multiply every term. What is left out is of
lower order in depth, so the numbers mean something as depth grows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from fathom.phi import PHI
from fathom.theory.linear import (
    BACKWARD,
    FORWARD,
    LOSSES,
    Array,
    Program,
    Trajectory,
    check,
    trajectory,
)

EQUATIONS = ("complete", "corrected", "printed", "uncentred")
REACH = 7.0  # standard deviations that a Gaussian average covers


class Smooth(NamedTuple):
    """A nonlinearity with its first three derivatives, applied entry by entry."""

    f: Callable[[Array], Array]
    d1: Callable[[Array], Array]
    d2: Callable[[Array], Array]
    d3: Callable[[Array], Array]


def _tanh2(z: Array) -> Array:
    t = np.tanh(z)
    return -2 * t * (1 - t**2)


def _tanh3(z: Array) -> Array:
    square = np.tanh(z) ** 2
    return (1 - square) * (6 * square - 2)


def _density(z: Array) -> Array:
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


SMOOTH: dict[str, Smooth] = {
    "linear": Smooth(PHI["linear"].f, PHI["linear"].df, np.zeros_like, np.zeros_like),
    "tanh": Smooth(PHI["tanh"].f, PHI["tanh"].df, _tanh2, _tanh3),
    "gelu": Smooth(
        lambda z: z * ndtr(z),
        lambda z: ndtr(z) + z * _density(z),
        lambda z: (2 - z**2) * _density(z),
        lambda z: (z**3 - 4 * z) * _density(z),
    ),
}


class Averages(NamedTuple):
    """Gaussian averages over (z, y) ~ N(0, C) of products, each of shape (pairs,).

    features: MS phi(z) MS phi(y). slopes: phi'(z) phi'(y). centred: MS phi'(z) phi'(y).
    bends: phi''(z) phi''(y). third: phi'''(z) phi'(y). mixed: phi''(z) MS phi(y).
    """

    features: Array
    slopes: Array
    centred: Array
    bends: Array
    third: Array
    mixed: Array


def averages(phi: Smooth, own: float, others: Array, shared: Array, nodes: int = 64) -> Averages:
    """The averages over z of variance `own` and each y of variance `others`, (pairs,), whose
    covariance with z is `shared`, (pairs,): quadrature on `nodes`^2 equally spaced points,
    which needs far fewer than Gauss-Hermite because tanh has poles near the real axis.

    Source: arXiv 2310.02244, Definition E.1 (V_phi_c, V_phi', V_phi_c|phi') and section F.1.
    """
    u = np.linspace(-REACH, REACH, nodes)
    weights = _density(u) / _density(u).sum()
    z = np.sqrt(own) * u
    along = shared / np.sqrt(own)
    across = np.sqrt(np.maximum(others - along**2, 0))
    y = along[:, None, None] * u[:, None] + across[:, None, None] * u

    def mean(left: Array, right: Array) -> Array:
        return (right @ weights) @ (weights * left)

    def centred(values: Array) -> Array:
        return values - (values @ weights @ weights)[:, None, None]

    slope, slopes, features = phi.d1(z), phi.d1(y), centred(phi.f(y))
    return Averages(
        features=mean(phi.f(z), features),
        slopes=mean(slope, slopes),
        centred=mean(slope - slope @ weights, slopes),
        bends=mean(phi.d2(z), phi.d2(y)),
        third=mean(phi.d3(z), slopes),
        mixed=mean(phi.d2(z), features),
    )


def nonlinear(
    inputs: ArrayLike,
    targets: ArrayLike,
    depth: int,
    *,
    phi: str = "tanh",
    a: float = 1.0,
    eta: float = 1.0,
    loss: str = "square",
    equations: str = "complete",
    nodes: int = 64,
) -> Trajectory:
    """The first steps of SGD in the limit network at Depth-muP, one sample per step.

    x^0 = U xi, x^l = x^{l-1} + a depth^-1/2 MS phi(W^l x^{l-1}), f = V^T x^L; only W is
    trained; W starts with variance 1/n, U with 1 and V with 1/n^2. inputs (steps, 1, inputs)
    and targets (steps, 1, outputs); the last step only predicts.

    a: the blocks' multiplier. eta: the learning rate. phi: a name in SMOOTH. nodes: points
    of the quadrature along each axis. equations: "complete" keeps all terms of leading order
    in depth; "corrected" leaves out that a gradient depends, through the stream it carries,
    on its own step's pre-activation; "printed" is Definition E.1, whose backward drift is
    only the average of MS phi'(z) phi'(y); "uncentred" is that with phi'(z) phi'(y) instead.
    Raises ValueError if shapes, depth or a name are wrong, or an input is zero.

    Source: arXiv 2310.02244, appendix E (printed) and F.1 (terms that E drops); the rest of
    "complete" is our derivation, which sampled networks confirm (tests).
    """
    xi, y = check(inputs, targets, depth, loss)
    _check(xi, phi, equations)
    program, outputs, losses = Program(depth, xi, y), np.zeros(y.shape), np.zeros(len(y))
    scale, rate = a / np.sqrt(depth), eta * a / np.sqrt(depth)
    for step in range(len(xi)):
        program.start(xi[step], step)
        means = [
            _forward(program, SMOOTH[phi], block, scale, rate, step, nodes)
            for block in range(depth)
        ]
        program.measure(FORWARD, depth, step)
        outputs[step] = program.outputs(step)
        each, errors = LOSSES[loss](outputs[step], y[step])
        losses[step] = each.mean()
        program.turn(errors, step)
        for block in reversed(range(depth)):
            _backward(program, means[block], block, scale, rate, step, equations)
        program.measure(BACKWARD, 0, step)
    return trajectory(program, outputs, losses)


def _check(xi: Array, phi: str, equations: str) -> None:
    if xi.shape[1] != 1:
        raise ValueError(f"the nonlinear limit takes one sample per step, not {xi.shape[1]}")
    if (np.abs(xi).sum(axis=2) == 0).any():
        raise ValueError("an input of the nonlinear limit must not be zero")
    if phi not in SMOOTH:
        raise ValueError(
            f"the nonlinear limit needs a smooth phi of {', '.join(SMOOTH)}, not {phi}"
        )
    if equations not in EQUATIONS:
        raise ValueError(f"equations must be one of {', '.join(EQUATIONS)}, not {equations}")


def _forward(
    program: Program, phi: Smooth, block: int, scale: float, rate: float, step: int, nodes: int
) -> tuple[Averages, Array]:
    """Pass one block forward; its averages (with all steps up to this one) and its theta,
    the coefficients of the earlier updates in its pre-activation."""
    kernel = program.measure(FORWARD, block, step)[0]
    others = np.diagonal(program.kernels[FORWARD][block])[: step + 1]
    means = averages(phi, kernel[step], others, kernel, nodes)
    program.vary(FORWARD, block, means.features[None], step)
    theta = program.response(FORWARD, block, step)[0, :step] - rate * kernel[:step]
    program.write(FORWARD, block, (means.slopes[:step] * theta)[None], scale, step)
    return means, theta


def _backward(
    program: Program,
    known: tuple[Averages, Array],
    block: int,
    scale: float,
    rate: float,
    step: int,
    equations: str,
) -> None:
    """Pass one block backward: its new Gaussian, then drift along this and earlier streams."""
    means, theta = known
    kernel = program.measure(BACKWARD, block + 1, step)[0]
    program.vary(BACKWARD, block, (means.slopes * kernel)[None], step)
    response = program.response(BACKWARD, block, step)[0]
    weights = _drift(means, theta, kernel, response, equations)
    weights[:-1] -= rate * (means.slopes * kernel)[:-1]
    program.write(BACKWARD, block, weights[None], scale, step)


def _drift(means: Averages, theta: Array, kernel: Array, response: Array, equations: str) -> Array:
    """How much the transpose of a block's initial matrix returns of each stream so far: the
    mean derivative of phi'(h_t) dx_t with respect to g_r, (seen,), to leading order."""
    if equations != "complete":
        response = np.append(response[:-1], 0)
    if equations == "printed":
        return means.centred * response
    found = means.slopes * response
    if equations == "uncentred":
        return found
    past = theta * kernel[:-1]
    found[:-1] += means.bends[:-1] * past
    found[-1] += means.third[:-1] @ past + means.mixed @ response
    return found
