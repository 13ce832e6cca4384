"""What the machine can do: its rate of float32 matrix products on one core."""

import time
from collections.abc import Callable

import numpy as np
import torch
from fathom.networks.families import build
from fathom.networks.tasks import task
from fathom.spec import Run
from fathom.training.kernels.operations import product

SIZE = 2048


def operations(run: Run) -> int:
    """Operations in one step's products with weights: one forward, two backward, but none
    for the gradient on the input, and none where a weight is looked up."""
    about = task(run.task)
    layers = build(run.net, about.inputs, about.outputs).layers
    text, batch = run.net.family == "lm", run.optim.batch
    matrices = [one for one in layers if one.role != "embed"]
    sizes = [2 * batch * one.places * one.fan_in * one.fan_out for one in matrices]
    return 3 * sum(sizes) - (0 if text else sizes[0])


def openblas() -> float:
    """Operations a second of a large product by the library of the compiled kernels."""
    a, out = np.ones((SIZE, SIZE), np.float32), np.empty((SIZE, SIZE), np.float32)
    one, zero = np.float32(1), np.float32(0)
    return _rate(lambda: product(one, a, False, a, False, zero, out))


def torch_mm() -> float:
    """The same by torch."""
    a, out = torch.ones(SIZE, SIZE), torch.empty(SIZE, SIZE)
    return _rate(lambda: torch.mm(a, a, out=out))


def _rate(multiply: Callable[[], object]) -> float:
    multiply()
    start = time.perf_counter()
    multiply()
    return 2 * SIZE**3 / (time.perf_counter() - start)
