"""Training of a residual network of infinite width with a smooth nonlinearity, by Monte Carlo.

Every neuron is an independent copy of a column of fields h^l(t), g^l(t), driven by Gaussian
sources u (what a block's initial matrix makes of phi(h)) and r (what its transpose makes of g)
whose covariances are the kernels of the fields, and by their responses to those sources. The
solver follows many such columns, sites, with kernels and responses averaged over them. It is
causal: it marches in training time, and at each time through the layers forward, then
backward, so that nothing is iterated.
Source: arXiv 2309.16620, as in sections 5.2, 5.3 and 5.5 of its spec.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fathom.theory.jets import JETS
from fathom.theory.responses import Responses
from fathom.theory.sites import Sites
from fathom.theory.solution import Dynamics, NotConverged, Problem, Solution, problem, within

Array = NDArray[np.float64]


class Cost(NamedTuple):
    """What a solution takes: memory in gigabytes, time in seconds of one core."""

    gigabytes: float
    seconds: float


def dmft_cost(
    depth: int, steps: int, samples: int, sites: int, replicas: int = 8, responses: bool = True
) -> Cost:
    """What `dmft` takes of memory, and about how long (one core of a 2 GHz server)."""
    kets, alive = steps * samples, 2 * (sites // replicas // 2)
    gigabytes, work = 8e-9 * 12 * alive * depth * kets, 3e-7 * kets
    if responses:
        gigabytes += Responses.gigabytes(depth, kets, alive)
        work += 1e-6 * steps + 2e-9 * kets**3
    return Cost(gigabytes, depth * alive * replicas * work)


def dmft(
    phi: str,
    kx: ArrayLike,
    y: ArrayLike,
    p: ArrayLike,
    depth: int,
    eta_0: float,
    gamma_0: float,
    steps: int,
    *,
    beta: float = 1.0,
    sites: int = 4000,
    replicas: int = 8,
    seed: int = 0,
    responses: bool = True,
    equal_time: bool = True,
    tolerance: float = 0.02,
    budget: float = 4.0,
) -> Solution[Dynamics]:
    """Full-batch gradient descent of an infinitely wide residual network, by Monte Carlo:
    h^{l+1} = h^l + beta L^-1/2 W^l phi(h^l), f = w.phi(h^L) / (gamma_0 N), rate
    eta_0 gamma_0^2 N for every weight.

    phi: a name in JETS. kx (samples, samples): Gram matrix x.x'/D of the inputs; y, p (samples,):
    targets, and weights in half the squared error; depth: L. The last of `steps` times only
    predicts. sites, in all, are split over `replicas` independent solutions, whose mean is the
    value and whose scatter gives the standard error. responses: False leaves out R and S;
    equal_time: False leaves out S(t, t), both of which are wrong (section 5.3). The residual is
    the share by which an identity between responses is missed, O(sites^-1/2) if all are there.
    Raises ValueError for bad input or more than `budget` GB, NotConverged where training
    diverges or the standard error of an output exceeds `tolerance` times the rms of y.
    """
    given = problem(kx, y, p, depth, eta_0, gamma_0, steps, beta)
    pairs = _check(given, phi, sites, replicas, responses, budget)
    found, residuals = [], []
    for replica in range(replicas):
        rng = np.random.default_rng([seed, replica])
        one, missed = _replica(Sites(given, phi, rng, pairs, responses), given, equal_time)
        found.append(one)
        residuals.append(missed)
    parts = [np.stack(part) for part in zip(*found, strict=True)]
    value = Dynamics(*(part.mean(axis=0) for part in parts))
    error = Dynamics(*(part.std(axis=0, ddof=1) / replicas**0.5 for part in parts))
    share = float(error.outputs.max() / np.sqrt((given.y**2).mean()))
    if share > tolerance:
        more = int(sites * (share / tolerance) ** 2)
        price = _cost(given, more, replicas, responses)
        raise NotConverged(
            f"the outputs' standard error is {share:.2g} of the targets' size, above the tolerance "
            f"{tolerance:g}: raise sites to {more}, which takes about {price.seconds:.0f} s and "
            f"{price.gigabytes:.2g} GB"
        )
    return Solution(value, float(np.mean(residuals)), given.steps, error)


def _cost(given: Problem, sites: int, replicas: int, responses: bool) -> Cost:
    return dmft_cost(given.depth, given.steps, len(given.y), sites, replicas, responses)


def _check(
    given: Problem, phi: str, sites: int, replicas: int, responses: bool, budget: float
) -> int:
    """Pairs of sites in a replica, or a ValueError that says what to change."""
    if phi not in JETS:
        raise ValueError(
            f"training in the limit needs a smooth phi of {', '.join(JETS)}, not {phi}"
        )
    if replicas < 2 or sites < 16 * replicas:
        raise ValueError(
            "a standard error needs at least 2 replicas of at least 16 sites each, "
            f"not {sites} sites in {replicas}"
        )
    pairs = sites // replicas // 2
    need = _cost(given, sites, replicas, responses).gigabytes
    fits = int(sites * budget / need)
    within(
        budget,
        need,
        f"{sites} sites in {replicas} replicas, depth {given.depth}, {given.steps} steps of "
        f"{len(given.y)} samples; {fits} sites would fit, or more replicas",
    )
    return pairs


def _replica(sites: Sites, given: Problem, equal_time: bool) -> tuple[Dynamics, float]:
    """One independent solution and its mismatch."""
    samples, outputs = len(given.y), []
    for step in range(given.steps):
        new = slice(step * samples, (step + 1) * samples)
        outputs.append(sites.forward(new))
        pull = given.pull(outputs[-1])
        sites.backward(new, equal_time)
        sites.pull = np.append(sites.pull, pull)
    losses = [given.loss(output) for output in outputs]
    shape = (given.depth + 1, *2 * (given.steps, samples))
    kernels = (kernel.reshape(shape) for kernel in (sites.features, sites.gradients))
    return Dynamics(np.array(losses), np.array(outputs), *kernels), sites.mismatch()
