"""Training by autograd: a stack of runs of one shape, side by side, for every family."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fathom.net.data import task
from fathom.net.loops import BETA_1, BETA_2
from fathom.net.stack import Stack, column, epsilon, losses, rate, shrinkage, trained
from fathom.phi import Array
from fathom.spec import Optim


def schedule(optim: Optim, step: int) -> float:
    """The share of the full rate at which a step is taken: it rises linearly over the first
    `warmup` steps, then stays, or falls to 0 along half a cosine."""
    if step < optim.warmup:
        return (step + 1) / optim.warmup
    if optim.schedule == "constant":
        return 1.0
    done = (step - optim.warmup) / (optim.steps - optim.warmup)
    return (1 + math.cos(math.pi * done)) / 2


class Session:
    """The training of a stack; weights and moments change in place."""

    def __init__(self, nets: Stack, device: str) -> None:
        first, about = nets.runs[0], task(nets.runs[0].task)
        for parts in (nets.weights, nets.mults):
            parts[:] = [part.to(device) for part in parts]
        self.nets = nets._replace(branch=nets.branch.to(device))
        self.task = about._replace(x=about.x.to(device), y=about.y.to(device))
        self.optim, self.device = first.optim, device
        order = {
            run.seed: self.task.batches(run.seed, first.optim.batch, first.optim.steps)
            for run in nets.runs
        }
        self.order = torch.stack([order[run.seed] for run in nets.runs], dim=1).to(device)
        learning = trained(first.net, nets.model)
        roles = [nets.model.layers[i].role for i in learning]
        self.weights = [nets.weights[i].requires_grad_() for i in learning]
        self.rates = [column([rate(run, role) for run in nets.runs]).to(device) for role in roles]
        self.eps = [epsilon(first, role) for role in roles]
        shrink = [[shrinkage(run, role) for run in nets.runs] for role in roles]
        self.shrink = [column(each).to(device) for each in shrink] if first.optim.decay else []
        adam = first.optim.kind == "adam"
        self.moments = [torch.zeros_like(w) for w in 2 * self.weights] if adam else []
        self.state = [part.detach() for part in (*self.weights, *self.moments)]

    def learn(self, start: int, end: int) -> Array:
        """Train from step `start` to before `end`; the losses, shape (runs, steps)."""
        curve = []
        for step in range(start, end):
            index = self.order[step]
            loss = losses(self.nets(self.task.x[index])[0], self.task.y[index])
            self._update(step, torch.autograd.grad(loss.sum(), self.weights))
            curve.append(loss.detach())
        return torch.stack(curve, 1).double().cpu().numpy()

    @torch.no_grad()
    def held_out(self) -> Array:
        """The loss of each run on the examples its task holds out, shape (runs,)."""
        for weight in self.weights:
            weight.requires_grad_(False)
        about, runs = self.task, len(self.nets.runs)
        x, y = about.x[-about.held_out :], about.y[-about.held_out :]
        x, y = x.expand(runs, *x.shape), y.expand(runs, *y.shape)
        return losses(self.nets(x)[0], y).double().cpu().numpy()

    @torch.no_grad()
    def _update(self, step: int, gradients: Sequence[Tensor]) -> None:
        adam, share = self.optim.kind == "adam", schedule(self.optim, step)
        for weight, shrink in zip(self.weights, self.shrink, strict=False):
            weight.mul_(1 - share * shrink)
        moves = self._adam(step, gradients) if adam else gradients
        for weight, rates, move in zip(self.weights, self.rates, moves, strict=True):
            weight.addcmul_(move, rates, value=share if adam else -share)

    def _adam(self, step: int, gradients: Sequence[Tensor]) -> list[Tensor]:
        """What Adam would add to each weight at rate 1: torch's own kernel, on zeros."""
        half, count = len(gradients), torch.tensor(step + 1.0, device=self.device)
        moves = [torch.zeros_like(gradient) for gradient in gradients]
        for i, gradient in enumerate(gradients):
            first, second = self.moments[i], self.moments[half + i]
            torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
                *([moves[i]], [gradient], [first], [second], [], [count]),
                lr=1.0, beta1=BETA_1, beta2=BETA_2, eps=self.eps[i],
                weight_decay=0.0, amsgrad=False, maximize=False,
            )  # fmt: skip
        return moves
