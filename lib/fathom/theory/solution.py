"""What a solver of infinite networks is given, and what it returns."""

from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Value = TypeVar("Value")


class NotConverged(RuntimeError):
    """A solver did not reach what it promises; the message names the knob and its price."""


class Solution(NamedTuple, Generic[Value]):
    """A value with how well it is known.

    residual: how far an identity that the exact solution obeys is missed. steps: how many steps
    the solver took. error: the standard error (Monte Carlo) or a bound on the numerical error of
    each number of the value, in its shape.
    """

    value: Value
    residual: float
    steps: int
    error: Value


class Dynamics(NamedTuple):
    """Full-batch training of an infinite network, at the times before each of its updates.

    losses (steps,): half the weighted squared error. outputs (steps, samples): f. features and
    gradients (layers + 1, steps, samples, steps, samples): the kernels Phi^l(t, s) of phi(h^l)
    and G^l(t, s) of g^l = gamma_0 N df/dh^l.
    """

    losses: Array
    outputs: Array
    features: Array
    gradients: Array


class Problem(NamedTuple):
    """The network and the training that `problem` has checked; section 5.1 of the paper's spec.

    kx (samples, samples): Gram matrix x.x'/D of the inputs. y (samples,): targets. p (samples,):
    weights of the samples in the loss. depth: L, the number of residual blocks. eta_0, gamma_0:
    learning rate and feature-learning strength; beta: factor of every block beside 1/sqrt(L).
    """

    kx: Array
    y: Array
    p: Array
    depth: int
    eta_0: float
    gamma_0: float
    steps: int
    beta: float

    @property
    def branch(self) -> float:
        """The factor of a block, beta / sqrt(L)."""
        return self.beta / self.depth**0.5

    def loss(self, output: Array) -> float:
        """Half the weighted squared error of outputs (samples,)."""
        return float(self.p @ (self.y - output) ** 2 / 2)

    def pull(self, output: Array) -> Array:
        """eta_0 gamma_0 p (y - f), (samples,): what a step multiplies a sample's gradient by."""
        found = self.eta_0 * self.gamma_0 * self.p * (self.y - output)
        if not np.isfinite(found).all() or np.abs(output).max() > 1e3 * (1 + np.abs(self.y).max()):
            raise NotConverged(
                f"training diverges at eta_0 = {self.eta_0:g}, gamma_0 = {self.gamma_0:g}: lower "
                "eta_0; half of it takes twice the steps, and four times the time and memory"
            )
        return found


def problem(
    kx: ArrayLike,
    y: ArrayLike,
    p: ArrayLike,
    depth: int,
    eta_0: float,
    gamma_0: float,
    steps: int,
    beta: float,
) -> Problem:
    """The problem in float64, or a ValueError that says what to change."""
    gram, target, weight = gram_matrix(kx), np.asarray(y, float), np.asarray(p, float)
    if gram.ndim != 2 or target.shape != gram.shape[:1] or weight.shape != gram.shape[:1]:
        raise ValueError(
            "kx must have shape (samples, samples), y and p (samples,), "
            f"not {gram.shape}, {target.shape} and {weight.shape}"
        )
    for name, count in (("depth", depth), ("steps", steps)):
        if int(count) != count or count < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, not {count}")
    for name, number in (("eta_0", eta_0), ("gamma_0", gamma_0), ("beta", beta)):
        if not 0 < number < np.inf:
            raise ValueError(f"{name} must be a positive number, not {number}")
    if not np.isfinite(target).all() or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("y must be finite, and p finite and not negative")
    return Problem(gram, target, weight, int(depth), eta_0, gamma_0, int(steps), beta)


def gram_matrix(kx: ArrayLike) -> Array:
    """Gram matrices (..., samples, samples) in float64, or a ValueError where they are none."""
    found = np.asarray(kx, float)
    square = found.ndim >= 2 and found.shape[-1] == found.shape[-2] > 0
    if not square or not np.isfinite(found).all():
        raise ValueError(f"kx must be a finite square matrix, not of shape {found.shape}")
    if not np.allclose(found, np.swapaxes(found, -1, -2)):
        raise ValueError("kx must be symmetric: it holds the inner products of the inputs")
    lowest = np.linalg.eigvalsh(found)[..., 0]
    if (lowest < -1e-9 * np.trace(found, axis1=-2, axis2=-1)).any():
        raise ValueError(f"kx must have no negative eigenvalue, but has {lowest.min():g}")
    if (np.diagonal(found, axis1=-2, axis2=-1) <= 0).any():
        raise ValueError("kx must have a positive diagonal: an input must not be zero")
    return found


def within(budget: float, gigabytes: float, what: str) -> None:
    """Raise ValueError where the memory needed (GB) is beyond the budget (GB); `what` says, of
    which sizes, and what would fit."""
    if gigabytes > budget:
        raise ValueError(
            f"this takes {gigabytes:.3g} GB, beyond the budget of {budget:g} GB: {what}"
        )
