"""Training: a stack of runs of one shape, side by side, each with bits of its own.

Every weight of a stack has shape (runs, fan_in, fan_out), every activation (runs, batch,
width). All work is batched matrix products and entry-by-entry arithmetic, in which one
run never meets another: its numbers do not depend on its company (tested with ==).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from fathom.net.data import task
from fathom.net.layers import Model
from fathom.net.models import build
from fathom.net.scaling import Power, Rule, parametrization
from fathom.phi import Array
from fathom.spec import Net, Run

# Bumped by hand when a change moves numbers: every row trained before is then trained anew.
NUMERICS = {"mlp": 1, "resmlp": 1, "sgd": 1, "adam": 1, "digits": 1, "gaussian": 1}

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-12


def numerics(run: Run) -> str:
    """The versions that a run's numbers depend on, such as "resmlp 1 adam 1 digits 1"."""
    parts = (run.net.family, run.optim.kind, run.task.split("_")[0])
    return " ".join(f"{part} {NUMERICS[part]}" for part in parts)


def shape(run: Run) -> tuple[object, ...]:
    """What runs must share to be trained as one stack."""
    net, optim = run.net, run.optim
    same = net.model_dump(exclude={"gain", "init_gain"})
    return (*same.values(), optim.kind, optim.batch, optim.steps, run.task)


class Stack(NamedTuple):
    """Runs of one shape as tensors: weights (runs, fan_in, fan_out), multipliers and branch
    factors (runs, 1, 1)."""

    runs: list[Run]
    model: Model
    weights: list[Tensor]
    mults: list[Tensor]
    branch: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Outputs (runs, batch, outputs) and units of the networks at x (runs, batch, inputs)."""
        return self.model.forward(self.apply, self.branch, x)

    def apply(self, i: int, h: Tensor) -> Tensor:
        """The i-th layer of every run, with its multiplier."""
        y = torch.bmm(h, self.weights[i])
        return y if bool((self.mults[i] == 1).all()) else y * self.mults[i]


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
        scales = column([_scale(run, layer.role, layer.fan_in) for run in runs])
        weights.append(torch.stack([drawn[run.seed] for run in runs]).mul_(scales))
        mults.append(column([rule(run, layer.role).mult.at(run) for run in runs]))
    branch = [run.net.gain * parametrization(run.rules).branch.at(run) for run in runs]
    return Stack(list(runs), model, weights, mults, column(branch))


def _draw(model: Model, i: int, seed: int) -> Tensor:
    """Standard normal entries for one layer. The draw of block l is the same at every
    depth; stream 0 belongs to the batches, 1 to the read-out."""
    stream = 1 if i == len(model.layers) - 1 else i + 2
    own = int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])
    size = (model.layers[i].fan_in, model.layers[i].fan_out)
    return torch.randn(size, generator=torch.Generator().manual_seed(own))


def _scale(run: Run, role: str, fan_in: int) -> float:
    """The standard deviation of a weight's entries; the read-out takes no init_gain."""
    at_base = fan_in if role == "input" else run.base.width
    variance = (1.0 if role == "readout" else run.net.init_gain) / at_base
    return math.sqrt(variance) * rule(run, role).init.at(run)


def losses(outputs: Tensor, y: Tensor) -> Tensor:
    """The mean loss of each run, shape (runs,): cross-entropy in nats, or half the squared
    error summed over outputs, averaged over the batch."""
    if y.dtype == torch.int64:
        return -log_softmax(outputs, -1).gather(-1, y.unsqueeze(-1)).mean((1, 2))
    return ((outputs - y) ** 2).sum(-1).mean(-1) / 2


def trained(net: Net, model: Model) -> list[int]:
    """Which layers learn: all, or with train_ends false all but the first and the last."""
    last = len(model.layers) - 1
    return [i for i in range(last + 1) if net.train_ends or 0 < i < last]


class Curves(NamedTuple):
    """What a stack's training gave: the loss of every step (runs, steps), before that
    step's update, the held-out loss after the last one (runs,), and the networks then.
    Diverged runs hold values that are not finite."""

    loss: Array
    held_out: Array
    nets: Stack


def train(runs: Sequence[Run], steps: int | None = None) -> Curves:
    """Train a stack of runs of one shape; `steps` stops early without changing the batches."""
    first, nets = runs[0], stack(runs)
    about, optim = task(first.task), first.optim
    order = {run.seed: about.batches(run.seed, optim.batch, optim.steps) for run in runs}
    batches = torch.stack([order[run.seed] for run in runs], dim=1)
    learning = trained(first.net, nets.model)
    weights = [nets.weights[i].requires_grad_() for i in learning]
    update = _optimizer(runs, [nets.model.layers[i].role for i in learning], weights)
    curve: list[Tensor] = []
    for step, index in enumerate(batches[:steps]):
        loss = losses(nets(about.x[index])[0], about.y[index])
        gradients = torch.autograd.grad(loss.sum(), weights)
        update(step, gradients)
        curve.append(loss.detach())
    with torch.no_grad():
        x, y = about.x[-about.held_out :], about.y[-about.held_out :]
        many = (len(runs), *(-1 for _ in x.shape))
        held_out = losses(nets(x.expand(many))[0], y.expand(many[: y.ndim + 1]))
    loss = torch.stack(curve, 1) if curve else torch.empty(len(runs), 0)
    return Curves(loss.double().numpy(), held_out.double().numpy(), nets)


class _Sgd:
    def __init__(self, weights: list[Tensor], rates: list[Tensor]) -> None:
        self.weights, self.rates = weights, rates

    @torch.no_grad()
    def __call__(self, step: int, gradients: Sequence[Tensor]) -> None:
        for weight, rate, gradient in zip(self.weights, self.rates, gradients, strict=True):
            weight.sub_(gradient.mul_(rate))


class _Adam:
    """Adam with bias correction; its epsilon follows the scale of each role's gradient."""

    def __init__(self, weights: list[Tensor], rates: list[Tensor], eps: list[Tensor]) -> None:
        self.weights, self.rates, self.eps = weights, rates, eps
        self.first = [torch.zeros_like(weight) for weight in weights]
        self.second = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()
    def __call__(self, step: int, gradients: Sequence[Tensor]) -> None:
        unbias_1, unbias_2 = 1 - BETA_1 ** (step + 1), math.sqrt(1 - BETA_2 ** (step + 1))
        for i, gradient in enumerate(gradients):
            self.first[i].lerp_(gradient, 1 - BETA_1)
            self.second[i].mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            move = torch.sqrt(self.second[i], out=gradient).add_(self.eps[i] * unbias_2)
            torch.div(self.first[i], move, out=move)
            self.weights[i].addcmul_(move, self.rates[i], value=-unbias_2 / unbias_1)


def _optimizer(runs: Sequence[Run], roles: list[str], weights: list[Tensor]) -> _Sgd | _Adam:
    def rates(kind: str) -> list[Tensor]:
        powers: list[list[Power]] = [
            [getattr(rule(run, role), kind) for run in runs] for role in roles
        ]
        base = [2.0**run.optim.log2_lr for run in runs]
        return [
            column([lr * power.at(run) for lr, power, run in zip(base, row, runs, strict=True)])
            for row in powers
        ]

    if runs[0].optim.kind == "sgd":
        return _Sgd(weights, rates("sgd"))
    eps = [column([EPSILON * rule(run, role).eps.at(run) for run in runs]) for role in roles]
    return _Adam(weights, rates("adam"), eps)


def summary(curves: Curves) -> list[dict[str, float]]:
    """The losses of a table's row, one dictionary per run: means over all steps, over the
    first and last fifth, and the held-out loss; all inf where any of them is not finite."""
    fifth = max(1, curves.loss.shape[1] // 5)
    rows = []
    for loss, held_out in zip(curves.loss, curves.held_out, strict=True):
        slices = {"loss_mean": loss, "loss_early": loss[:fifth], "loss_late": loss[-fifth:]}
        row = {name: float(part.mean()) for name, part in slices.items()}
        row["loss_held_out"] = float(held_out)
        finite = bool(np.isfinite(loss).all() and np.isfinite(held_out))
        rows.append(row if finite else dict.fromkeys(row, math.inf))
    return rows
