"""A run in the words of the theory of infinite networks, which knows none of ours."""

from typing import NamedTuple

import numpy as np
import torch

from fathom.net.data import task
from fathom.net.scaling import parametrization
from fathom.phi import Array
from fathom.spec import Run


class Data(NamedTuple):
    """What a run learns from: inputs (steps, batch, inputs), targets (steps, batch, outputs),
    and the loss's name."""

    inputs: Array
    targets: Array
    loss: str


class Scales(NamedTuple):
    """How a run depends on depth: branches are a depth^-alpha, a weight's update is of size
    depth^-gamma, and eta is the learning rate at depth 1."""

    depth: int
    alpha: float
    gamma: float
    a: float
    eta: float


def data(run: Run) -> Data:
    """The batches of a run in their order. The entries of its first matrix have variance one
    over the number of inputs, those of the theory 1: inputs are divided by that root. Classes
    become probabilities."""
    about = task(run.task)
    index = about.batches(run.seed, run.optim.batch, run.optim.steps)
    x, y = about.x[index].double(), about.y[index]
    classes = y.dtype == torch.int64
    targets = torch.eye(about.outputs)[y] if classes else y
    loss = "cross_entropy" if classes else "square"
    return Data(x.numpy() / np.sqrt(x.shape[-1]), targets.double().numpy(), loss)


def scales(run: Run) -> Scales:
    """The exponents and factors of a run whose base width and depth are 1, under SGD."""
    rules = parametrization(run.rules)
    alpha = -rules.branch.depth
    gamma = alpha - rules.rule("block").sgd.depth
    return Scales(run.net.depth, alpha, gamma, run.net.gain, 2.0**run.optim.log2_lr)
