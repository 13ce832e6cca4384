"""Networks of one shape at initialisation, side by side: a stack of runs.

Every weight of a stack has shape (runs, fan_in, fan_out), or (runs, fan_out, fan_in) for a
convolution; activations are as in layers. All work is batched matrix products, grouped
convolutions and entry-by-entry arithmetic, in which one run never meets another: its numbers
do not depend on its stack (tested with ==).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fathom.networks.families import build
from fathom.networks.layers import Model, Vector, along
from fathom.networks.parametrization import Rule, parametrization
from fathom.networks.tasks import task
from fathom.spec import Net, Optim, Run

EPSILON = 1e-12  # Adam's
OWN = ("gain", "init_gain", "gamma_0", "log2_lr", "log2_lr_ends")  # of each run of a stack
ENDS = ("input", "embed", "norm:last", "readout")  # roles outside of the branches


def shape(run: Run) -> tuple[object, ...]:
    """What runs must share to be trained as one stack."""
    fields = (*run.net, *run.optim)
    same = [value for name, value in fields if name not in OWN]
    return (*same, run.rules, run.base, run.task)


def truncated(run: Run, steps: int = 1) -> Run:
    """The run cut after some steps: one and the same for runs that are one training, cut at
    different steps. Where the rate varies or weights decay, the run stays as it is."""
    if not run.optim.plain:
        return run
    return run.model_copy(update={"optim": run.optim.model_copy(update={"steps": steps})})


class Stack(NamedTuple):
    """Runs of one shape as tensors: weights, multipliers and branch
    factors (runs, 1, 1); `scaled` are the layers whose multiplier is not 1."""

    runs: list[Run]
    model: Model
    weights: list[Tensor]
    mults: list[Tensor]
    branch: Tensor
    scaled: frozenset[int]

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Outputs (runs, rows, outputs) and units of the networks at x: (runs, batch, inputs), or
        tokens (runs, batch, context), each of which is a row."""
        return self.model.forward(self.apply, self.branch, x)

    def apply(self, i: int, h: Tensor) -> Tensor:
        """The i-th layer of every run, with its multiplier."""
        y = self.model.layers[i].act(self.weights[i], h)
        return y * along(self.mults[i], y) if i in self.scaled else y


def rule(run: Run, role: str) -> Rule:
    """The scaling rule of one role of weight in a run."""
    return parametrization(run.rules).rule(role)


def column(values: Sequence[float]) -> Tensor:
    """One number per run, ready to multiply (runs, rows, columns)."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)


def stack(runs: Sequence[Run]) -> Stack:
    """The runs' networks at initialisation. All runs must have the same `shape`."""
    net, about = runs[0].net, task(runs[0].task)
    model = build(net, about.inputs, about.outputs)
    weights, mults = [], []
    for i, layer in enumerate(model.layers):
        drawn = {seed: _draw(model, i, seed) for seed in {run.seed for run in runs}}
        weight = torch.stack([drawn[run.seed] for run in runs])
        if not isinstance(layer, Vector):
            weight.mul_(column([_scale(run, layer.role, layer.fan_in) for run in runs]))
        weights.append(weight)
        mults.append(column([_mult(run, layer.role) for run in runs]))
    branch = [run.net.gain * parametrization(run.rules).branch.at(run) for run in runs]
    scaled = frozenset(i for i, mult in enumerate(mults) if bool((mult != 1).any()))
    return Stack(list(runs), model, weights, mults, column(branch), scaled)


def _draw(model: Model, i: int, seed: int) -> Tensor:
    """The entries of one layer before they are scaled. The draw of block l is the same at every
    depth (in one stage); stream 0 belongs to the batches, 1 to the read-out."""
    stream = 1 if i == len(model.layers) - 1 else i + 2
    own = int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])
    return model.layers[i].begin(own)


def _mult(run: Run, role: str) -> float:
    """A layer's multiplier; the read-out's is divided by gamma_0."""
    return rule(run, role).mult.at(run) / (run.net.gamma_0 if role == "readout" else 1)


def _scale(run: Run, role: str, fan_in: int) -> float:
    """The standard deviation of a weight's entries; the read-out takes no init_gain. What is
    looked up has a fan-in of 1; a fan-in that grows with width is a multiple of it."""
    grows = fan_in // run.net.width * run.base.width
    if role.startswith("change"):
        return 0.0
    at_base = {"input": fan_in, "embed": 1}.get(role, grows)
    variance = (1.0 if role == "readout" else run.net.init_gain) / at_base
    return math.sqrt(variance) * rule(run, role).init.at(run)


def losses(outputs: Tensor, y: Tensor) -> Tensor:
    """The mean loss of each run, shape (runs,): cross-entropy in nats, or half the squared
    error summed over outputs, averaged over the batch (and over the tokens of its texts)."""
    if y.dtype == torch.int64:
        return -log_softmax(outputs, -1).gather(-1, y.flatten(1).unsqueeze(-1)).mean((1, 2))
    return ((outputs - y) ** 2).sum(-1).mean(-1) / 2


def trained(net: Net, model: Model) -> list[int]:
    """Which layers learn: all, or with train_ends false all but the first and the last; where
    a model keeps what its blocks learn apart, not the blocks as they began."""
    last = len(model.layers) - 1
    learning = [i for i in range(last + 1) if net.train_ends or 0 < i < last]
    if net.family == "linearised":
        return [i for i in learning if not model.layers[i].role.startswith("block")]
    return learning


def rate(run: Run, role: str) -> float:
    """The learning rate of one role of weight in a run; gamma_0 multiplies it, squared under SGD
    (Depthwise transfer, Table 1; under Adam derived)."""
    rules, sgd, gamma = rule(run, role), run.optim.kind == "sgd", run.net.gamma_0
    power = rules.sgd if sgd else rules.adam
    return _at_base(run, role) * power.at(run) * gamma ** (2 if sgd else 1)


def _at_base(run: Run, role: str) -> float:
    """The learning rate of one role of weight at base size, gamma_0 not counted."""
    ends = run.optim.log2_lr_ends
    return 2.0 ** (ends if ends is not None and role in ENDS else run.optim.log2_lr)


def schedule(optim: Optim, step: int) -> float:
    """The share of the full rate at which a step is taken: it rises linearly over the first
    `warmup` steps, then stays, or falls to 0 along half a cosine."""
    if step < optim.warmup:
        return (step + 1) / optim.warmup
    if optim.schedule == "constant":
        return 1.0
    done = (step - optim.warmup) / (optim.steps - optim.warmup)
    return (1 + math.cos(math.pi * done)) / 2


def shrinkage(run: Run, role: str) -> float:
    """The share of one role of weight that decay takes off it in a step at full rate.

    Under AdamW rate x decay x the rule's power of width. Under SGD the rate at base size x decay,
    the same at every size and gamma_0 (derived from Depthwise transfer, Table 1: the product of
    rate and decay must not depend on size, and the rate alone does)."""
    if run.optim.kind == "sgd":
        return _at_base(run, role) * run.optim.decay
    return rate(run, role) * run.optim.decay * rule(run, role).decay.at(run)


def epsilon(run: Run, role: str) -> float:
    """Adam's epsilon for one role of weight: it follows the scale of the role's gradient."""
    return EPSILON * rule(run, role).eps.at(run)
