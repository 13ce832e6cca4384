"""The lazy limit: kernels along depth at finite depth and as differential equations in it.

As feature-learning strength gamma_0 goes to 0, the kernels of a wide residual network
h^{l+1} = h^l + beta L^-1/2 W^l phi(h^l) stay where they start, and training is linear in the
neural tangent kernel (NTK). Layer l is at the place tau = l / L.
Source: arXiv 2309.16620, Proposition 2 and Figure 6, as in section 5.6 of its spec.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from fathom.theory.kernel import layer_averages
from fathom.theory.solution import NotConverged, Solution, gram_matrix

Array = NDArray[np.float64]
READOUTS = ("phi", "linear")
TOLERANCE = 1e-10  # of the differential equation's solver, relative
LARGEST = 1e-6  # error of the kernels that is still an answer, relative


class Ntk(NamedTuple):
    """Kernels at the start of training, of the shape of kx, (..., samples, samples).

    total: the NTK, the sum of the shares of residual blocks, readout and input matrix, which
    follow. stream and gradient (places, ..., samples, samples): H of the streams and G of the
    gradients g = gamma_0 N df/dh along depth, layer by layer or at the places asked for.
    """

    total: Array
    residual: Array
    readout: Array
    input: Array
    stream: Array
    gradient: Array


def ntk_finite(phi: str, kx: ArrayLike, depth: int, beta: float = 1.0, readout: str = "phi") -> Ntk:
    """The kernels of an infinitely wide network of `depth` blocks, layer by layer, from the Gram
    matrix kx (..., samples, samples) of its inputs; it reads out phi(h^L), or h^L ("linear").
    Raises ValueError for a phi, readout or depth that it does not know."""
    gram, rate = _check(kx, depth, beta, readout), beta**2 / depth
    stream, found = [gram], []
    for _ in range(depth):
        found.append(layer_averages(phi, stream[-1]))
        stream.append(stream[-1] + rate * found[-1].features)
    last = layer_averages(phi, stream[-1])
    gradient = [last.slopes if readout == "phi" else np.ones_like(gram)]
    residual = np.zeros_like(gram)
    for layer in reversed(found):
        residual += rate * gradient[-1] * layer.features
        gradient.append(gradient[-1] * (1 + rate * layer.slopes))
    read = last.features if readout == "phi" else stream[-1]
    return _ntk(gram, residual, read, gradient[-1], np.stack(stream), np.stack(gradient[::-1]))


def ntk_limit(
    phi: str,
    kx: ArrayLike,
    beta: float = 1.0,
    readout: str = "phi",
    places: ArrayLike = (0.0, 1.0),
) -> Solution[Ntk]:
    """The kernels of an infinitely wide and deep network, stream and gradient at places tau in
    [0, 1] in ascending order; the rest as for `ntk_finite`. Its error is the change when the
    solver's tolerance is loosened tenfold. Raises NotConverged where that is large.

    dH/dtau = beta^2 Phi(H), dG/dtau = -beta^2 Phi'(H) G; G follows from the integral of Phi',
    and the residual share beta^2 int G Phi is integrated along.
    """
    gram, at = _check(kx, 1, beta, readout), np.atleast_1d(np.asarray(places, float))
    if (np.diff(at) <= 0).any() or at[0] < 0 or at[-1] > 1:
        raise ValueError(f"places must ascend from 0 to 1, not {at.tolist()}")
    value, steps = _integrate(phi, gram, beta, readout, at, TOLERANCE)
    loose, _ = _integrate(phi, gram, beta, readout, at, 10 * TOLERANCE)
    error = Ntk(*(np.abs(one - two) for one, two in zip(value, loose, strict=True)))
    residual = float(error.total.max() / np.abs(value.total).max())
    if not residual < LARGEST:
        raise NotConverged(
            f"the NTK still changes by {residual:.1g} with the solver's tolerance: lower beta, or "
            "extrapolate ntk_finite, whose time grows with depth"
        )
    return Solution(value, residual, steps, error)


def _integrate(
    phi: str, gram: Array, beta: float, readout: str, places: Array, tolerance: float
) -> tuple[Ntk, int]:
    """The kernels, and how often the equations' right side was evaluated."""
    shape = (3, *gram.shape)

    def change(_: float, state: Array) -> Array:
        """Of H, the exponent beta^2 int Phi', and beta^2 int e^-exponent Phi."""
        now, exponent = layer_averages(phi, state.reshape(shape)[0]), state.reshape(shape)[1]
        parts = (now.features, now.slopes, np.exp(-exponent) * now.features)
        return beta**2 * np.concatenate([part.ravel() for part in parts])

    found = solve_ivp(
        change,
        (0, 1),
        np.concatenate([gram.ravel(), np.zeros(2 * gram.size)]),
        method="DOP853",
        t_eval=np.append(places[places < 1], 1),
        rtol=tolerance,
        atol=tolerance * np.abs(gram).max(),
    )
    if not found.success:
        raise NotConverged(f"the equation in depth stops ({found.message}): lower beta")
    along = found.y.T.reshape(-1, *shape)
    stream, exponent, residual = along[:, 0], along[:, 1], along[:, 2]
    last = layer_averages(phi, stream[-1])
    end = last.slopes if readout == "phi" else np.ones_like(gram)
    read = last.features if readout == "phi" else stream[-1]
    start = end * np.exp(exponent[-1])
    kept = slice(None, len(places))
    gradient = (start * np.exp(-exponent))[kept]
    return _ntk(gram, start * residual[-1], read, start, stream[kept], gradient), found.nfev


def _ntk(
    gram: Array, residual: Array, read: Array, start: Array, stream: Array, gradient: Array
) -> Ntk:
    """With the input's share, `start` being G before the first block."""
    total = residual + read + start * gram
    return Ntk(total, residual, read, start * gram, stream, gradient)


def _check(kx: ArrayLike, depth: int, beta: float, readout: str) -> Array:
    if int(depth) != depth or depth < 1:
        raise ValueError(f"depth must be a whole number, at least 1, not {depth}")
    if not 0 < beta <= 10:
        raise ValueError(f"beta must be positive and at most 10, not {beta}: H grows as e^beta^2")
    if readout not in READOUTS:
        raise ValueError(f"readout must be one of {', '.join(READOUTS)}, not {readout}")
    return gram_matrix(kx)


def lazy_training(
    kernel: ArrayLike, y: ArrayLike, p: ArrayLike, eta_0: float, steps: int
) -> tuple[Array, Array]:
    """Losses (steps,) and outputs (steps, samples) of gradient descent with a fixed NTK
    (samples, samples), from outputs 0: f moves by eta_0 K p (y - f) at each step. y and p
    (samples,) are targets and the samples' weights in half the squared error."""
    fixed, target, weight = (np.asarray(part, float) for part in (kernel, y, p))
    outputs = np.zeros((steps, len(target)))
    for step in range(1, steps):
        before = outputs[step - 1]
        outputs[step] = before + eta_0 * fixed @ (weight * (target - before))
    return (target - outputs) ** 2 @ weight / 2, outputs


def kernel_without_responses(phi: str, kx: ArrayLike, depth: int, beta: float = 1.0) -> Array:
    """What stands in place of the NTK (samples, samples) in the first step's change of the outputs
    when the responses are left out: Phi^L + Phi'^L H^L. Source: first order in eta_0 of section
    5.3's equations with R = S = 0, where g^L is the only part of g that is correlated with w."""
    known = ntk_finite(phi, kx, depth, beta)
    return known.readout + known.gradient[-1] * known.stream[-1]
