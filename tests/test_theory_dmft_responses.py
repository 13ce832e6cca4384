"""What sites answer to their own sources, against moving the sources a little."""

import numpy as np
import pytest
from fathom.theory.sites import Sites
from fathom.theory.solution import problem
from numpy.typing import NDArray

Array = NDArray[np.float64]
KX, Y, P = np.array([[1, 0.3], [0.3, 0.8]]), np.array([2.0, -1.5]), np.array([0.6, 0.4])
DEPTH, STEPS, STEP = 3, 3, 1e-5
KETS = 2 * STEPS


def solved(phi: str) -> Sites:
    given = problem(KX, Y, P, DEPTH, 0.4, 1.5, STEPS, 1.3)
    sites = Sites(given, phi, np.random.default_rng(0), 10, True)
    for step in range(STEPS):
        output = sites.forward(slice(2 * step, 2 * step + 2))
        sites.backward(slice(2 * step, 2 * step + 2), True)
        sites.pull = np.append(sites.pull, given.pull(output))
    return sites


def sources(sites: Sites) -> tuple[Array, Array]:
    """u and r of every block, (depth, sites, kets)."""
    branch = sites.given.branch
    rises = np.stack([sites.g[b + 1] @ sites.drift[b].T for b in range(DEPTH)])
    falls = np.stack([sites.phi[b] @ sites.memory[b].T for b in range(DEPTH)])
    return (np.diff(sites.h, axis=0) - rises) / branch, (sites.bracket - falls) / branch


def replayed(sites: Sites, u: Array, r: Array) -> tuple[Array, Array]:
    """h and g of all sites when driven by u and r, averages over sites staying as they are."""
    h, g = np.zeros_like(sites.h), np.zeros_like(sites.g)
    phi, branch = np.zeros_like(h), sites.given.branch
    entrance = np.tile(KX, (1, STEPS)) * sites.pull
    for step in range(STEPS):
        new, past = slice(2 * step, 2 * step + 2), 2 * step
        h[0][:, new] = sites.entrance + g[0][:, :past] @ entrance[:, :past].T
        for b in range(DEPTH):
            phi[b][:, new] = sites.jet(h[b][:, new])[0]
            memory = g[b + 1][:, :past] @ sites.drift[b, new, :past].T
            h[b + 1][:, new] = h[b][:, new] + branch * u[b][:, new] + memory
        phi[-1][:, new], slope, _ = sites.jet(h[-1][:, new])
        g[-1][:, new] = slope * (sites.w + phi[-1][:, :past] @ sites.pull[:past])[:, None]
        for b in reversed(range(DEPTH)):
            memory = phi[b][:, : new.stop] @ sites.memory[b, new, : new.stop].T
            slope = sites.jet(h[b][:, new])[1]
            g[b][:, new] = g[b + 1][:, new] + slope * (branch * r[b][:, new] + memory)
    return h, g


@pytest.mark.parametrize("phi", ["tanh", "softplus"])
def test_responses_are_derivatives_site_by_site(phi: str) -> None:
    sites = solved(phi)
    assert sites.responses
    u, r = sources(sites)
    for field, again in zip((sites.h, sites.g), replayed(sites, u, r), strict=True):
        np.testing.assert_allclose(again, field, atol=1e-12)
    branch, green, above = sites.given.branch, sites.responses.green, sites.responses.reflection
    for block in range(DEPTH):
        last = above[block + 1]
        inner = last + last @ green[block + 1] @ last
        for ket in range(KETS):
            pulled = np.zeros_like(u)
            pulled[block][:, ket] = STEP
            more, less = replayed(sites, u, r + pulled)[0], replayed(sites, u, r - pulled)[0]
            expected = branch * green[block][:, :, ket] * sites.slope[block][:, ket, None]
            np.testing.assert_allclose((more - less)[block] / (2 * STEP), expected, atol=1e-8)
            more, less = replayed(sites, u + pulled, r)[1], replayed(sites, u - pulled, r)[1]
            found = (more - less)[block + 1] / (2 * STEP)
            np.testing.assert_allclose(found, branch * inner[:, :, ket], atol=1e-8)
        mean = np.einsum("nq,nqk,nk->qk", sites.slope[block], green[block], sites.slope[block])
        chi = u[block] + branch * sites.g[block + 1] @ mean.T / len(u[block])
        np.testing.assert_allclose(sites.chi[block], chi, atol=1e-12)
        xi = r[block] + branch * sites.phi[block] @ inner.mean(axis=0).T
        np.testing.assert_allclose(sites.xi[block], xi, atol=1e-12)
