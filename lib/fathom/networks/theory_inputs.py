"""The arguments of fathom.theory for a run."""

from typing import Any

import numpy as np
import torch

from fathom.networks.parametrization import parametrization
from fathom.networks.tasks import task
from fathom.spec import SAMPLES, Limit, Run, Solvable, Training


def theory_inputs(run: Run, equations: str | None = None) -> dict[str, Any]:
    """What `fathom.theory.linear`, or with `equations` `fathom.theory.nonlinear`, is called with
    to find the infinite-width limit of a residual run of base width and depth 1 under SGD.

    inputs (steps, batch, inputs) and targets (steps, batch, outputs): the batches of the run
    in their order, classes as probabilities. The entries of the run's first matrix have
    variance one over the number of inputs, those of the theory 1: the inputs are divided by
    that root. depth, a, eta, loss, and alpha and gamma or phi and equations as there.
    """
    about, rules = task(run.task), parametrization(run.rules)
    index = about.batches(run.seed, run.optim.batch, run.optim.steps)
    x, y = about.x[index].double(), about.y[index]
    classes = y.dtype == torch.int64
    targets = torch.eye(about.outputs)[y] if classes else y
    alpha = -rules.branch.depth
    given = {
        "inputs": x.numpy() / np.sqrt(x.shape[-1]),
        "targets": targets.double().numpy(),
        "depth": run.net.depth,
        "a": run.net.gain,
        "eta": 2.0**run.optim.log2_lr,
        "loss": "cross_entropy" if classes else "square",
    }
    if equations:
        return given | {"phi": run.net.phi, "equations": equations}
    return given | {"alpha": alpha, "gamma": alpha - rules.rule("block").sgd.depth}


def solver_inputs(one: Solvable) -> dict[str, Any]:
    """What `fathom.theory.table` is given to solve one case of an entry of limit."""
    if isinstance(one, Limit):
        return theory_inputs(one.run(), one.equations)
    if not isinstance(one, Training):
        return {"solve": type(one).__name__, **one.model_dump(exclude={"seed"})}
    about, samples = task(one.task), SAMPLES[one.task]
    x = about.x[:samples].double().numpy()
    return {
        "solve": "Training",
        "kx": x @ x.T,
        "y": about.y[:samples, 0].double().numpy(),
        "p": np.full(samples, 1 / samples),
        "eta_0": 2.0**one.log2_lr,
        "depths": one.depths,
        **one.model_dump(exclude={"depth", "extrapolate", "seed", "log2_lr", "task"}),
    }
