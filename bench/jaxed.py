"""The same training in JAX, jitted as a whole: a process of its own that does what it is asked.

Every line of input is a list of runs and a number of steps, every line of output the
losses, one list per run. Several runs are stacked by vmap, and the steps are a loop inside
the compiled function, so that Python is asked once per training. Whoever starts this gives
it one core, and XLA one thread.
"""

import json
import sys
from functools import cache, partial
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
from fathom.networks.stack import stack
from fathom.networks.tasks import task
from fathom.spec import Net, Run

PHI = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": partial(jax.nn.gelu, approximate=False)}


def forward(net: Net, weights: list[Any], x: Any) -> Any:
    """The outputs of a chain, or of a residual network with branches over sqrt(L)."""
    phi, h = PHI[net.phi], x @ weights[0]
    if net.family == "mlp":
        for weight in weights[1:]:
            h = phi(h) @ weight
        return h
    for weight in weights[1:-1]:
        z = phi(h @ weight)
        if net.center:
            z = z - z.mean(-1, keepdims=True)
        h = h + net.depth**-0.5 * z
    return h @ weights[-1]


def update(
    weights: list[Any], moments: list[Any], gradients: list[Any], count: Any, rate: Any
) -> tuple[list[Any], list[Any]]:
    """Weights and moments after one step of Adam, or of SGD where there are no moments."""
    if not moments:
        return [w - rate * g for w, g in zip(weights, gradients, strict=True)], moments
    first = [0.9 * m + 0.1 * g for m, g in zip(moments[0], gradients, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(moments[1], gradients, strict=True)]
    one, two = 1 - 0.9**count, 1 - 0.999**count
    weights = [
        w - rate * (m / one) / (jnp.sqrt(v / two) + 1e-8)
        for w, m, v in zip(weights, first, second, strict=True)
    ]
    return weights, [first, second]


@cache
def trainer(said: str, many: bool) -> Any:
    """A jitted training of a net, given as JSON.

    It takes (weights, moments, rate, x, y, order, steps) and ends with the losses of the
    batches of `order` (steps, batch), of which only the first `steps` are trained on."""

    net = Net.model_validate_json(said)

    def loss(weights: list[Any], x: Any, y: Any) -> Any:
        chances = jax.nn.log_softmax(forward(net, weights, x))
        return -jnp.take_along_axis(chances, y[:, None], 1).mean()

    def learn(
        weights: list[Any], moments: list[Any], rate: Any, x: Any, y: Any, order: Any, steps: Any
    ) -> Any:
        def step(i: Any, so_far: Any) -> Any:
            weights, moments, curve = so_far
            value, gradients = jax.value_and_grad(loss)(weights, x[order[i]], y[order[i]])
            weights, moments = update(weights, moments, gradients, i + 1.0, rate)
            return weights, moments, curve.at[i].set(value)

        return jax.lax.fori_loop(0, steps, step, (weights, moments, jnp.zeros(len(order))))

    stacked = jax.vmap(learn, in_axes=(0, 0, 0, None, None, 0, None)) if many else learn
    return jax.jit(stacked, donate_argnums=(0, 1))


def train(runs: list[Run], steps: int) -> list[list[float]]:
    """The losses of the runs' first steps, from the weights and batches Fathom draws."""
    first, about, many = runs[0], task(runs[0].task), len(runs) > 1
    optim, chosen = first.optim, slice(None) if many else 0
    weights = [jnp.array(weight.numpy()[chosen], copy=True) for weight in stack(runs).weights]
    moments = [[jnp.zeros_like(w) for w in weights] for _ in range(2 * (optim.kind == "adam"))]
    rate = jnp.array([2.0**run.optim.log2_lr for run in runs])[chosen]
    batches = [about.batches(run.seed, optim.batch, optim.steps).numpy() for run in runs]
    data = jnp.array(about.x.numpy()), jnp.array(about.y.numpy()), jnp.array(batches)[chosen]
    learn = trainer(first.net.model_dump_json(), many)
    *_, curve = learn(weights, moments, rate, *data, steps)
    return np.array(curve, float).reshape(len(runs), -1)[:, :steps].tolist()


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        found = train([Run.model_validate(run) for run in asked["runs"]], asked["steps"])
        print(json.dumps(found), flush=True)
