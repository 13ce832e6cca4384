"""Training by autograd: a stack of runs of one shape, side by side, for every family."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fathom.networks.stack import Stack, column, epsilon, losses, rate, schedule, shrinkage, trained
from fathom.networks.tasks import task
from fathom.phi import Array
from fathom.training.kernels.operations import BETA_1, BETA_2


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """A step as a GPU records it once and replays it at a single launch (a CUDA graph).

    The step may read and write tensors only, always the same ones, and depend on nothing else.
    Recording takes three real steps, in which torch settles what it allocates.
    """
    aside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    aside.wait_stream(torch.cuda.current_stream())  # autograd keeps to the stream it began on
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    with torch.cuda.graph(graph, stream=aside):
        step()
    return graph.replay


class Session:
    """The training of a stack; weights and moments change in place. The stack's own weights are
    trained on the processor, copies of them on a card."""

    def __init__(self, nets: Stack, device: str) -> None:
        first, about = nets.runs[0], task(nets.runs[0].task)
        self.nets = nets._replace(
            weights=[weight.to(device) for weight in nets.weights],
            mults=[mult.to(device) for mult in nets.mults],
            branch=nets.branch.to(device),
        )
        self.task = about._replace(x=about.x.to(device), y=about.y.to(device))
        self.optim = first.optim
        order = {
            run.seed: self.task.batches(run.seed, first.optim.batch, first.optim.steps)
            for run in nets.runs
        }
        self.order = torch.stack([order[run.seed] for run in nets.runs], dim=1).to(device)
        learning = trained(first.net, nets.model)
        roles = [nets.model.layers[i].role for i in learning]
        self.weights = [self.nets.weights[i].requires_grad_() for i in learning]
        self.rates = [column([rate(run, role) for run in nets.runs]).to(device) for role in roles]
        self.eps = [epsilon(first, role) for role in roles]
        shrink = [[shrinkage(run, role) for run in nets.runs] for role in roles]
        self.shrink = [column(each).to(device) for each in shrink] if first.optim.decay else []
        adam = first.optim.kind == "adam"
        self.moments = [torch.zeros_like(w) for w in 2 * self.weights] if adam else []
        self.state = [part.detach() for part in (*self.weights, *self.moments)]
        # what differs from step to step lies in tensors, else a recorded step could not see it
        like = self.nets.branch
        self.index, self.loss = self.order[0].clone(), like.new_zeros(len(nets.runs))
        self.count, self.share = like.new_ones(()), like.new_ones(())
        self.replay = None
        if device == "cuda":
            self.replay = recorded(self._step)
            for part, i in zip(self.state, learning, strict=False):
                part.copy_(nets.weights[i])  # the steps that recording took do not count
            for moment in self.moments:
                moment.zero_()

    def learn(self, start: int, end: int) -> Array:
        """Train from step `start` to before `end`; the losses, shape (runs, steps)."""
        curve = []
        for step in range(start, end):
            self.index.copy_(self.order[step])
            self.count.fill_(step + 1)
            self.share.fill_(schedule(self.optim, step))
            (self.replay or self._step)()
            curve.append(self.loss.clone())
        return torch.stack(curve, 1).double().cpu().numpy()

    def _step(self) -> None:
        loss = losses(self.nets(self.task.x[self.index])[0], self.task.y[self.index])
        self._update(torch.autograd.grad(loss.sum(), self.weights))
        self.loss.copy_(loss.detach())

    @torch.no_grad()
    def leave(self, nets: Stack) -> None:
        """Write the weights as they are now into a stack of the same runs, free of gradients; into
        its own, training ends with it."""
        for here, there in zip(self.nets.weights, nets.weights, strict=True):
            there.requires_grad_(False).copy_(here)

    @torch.no_grad()
    def held_out(self) -> Array:
        """The loss of each run on the examples its task holds out, shape (runs,)."""
        runs, found = len(self.nets.runs), []
        for piece in self.task.pieces():
            x, y = self.task.x[piece], self.task.y[piece]
            x, y = x.expand(runs, *x.shape), y.expand(runs, *y.shape)
            found.append(losses(self.nets(x)[0], y).double().cpu().numpy())
        return np.mean(found, axis=0)

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor]) -> None:
        adam = self.optim.kind == "adam"
        for weight, shrink in zip(self.weights, self.shrink, strict=False):
            weight.mul_(1 - self.share * shrink)
        moves = self._adam(gradients) if adam else gradients
        for weight, rates, move in zip(self.weights, self.rates, moves, strict=True):
            shared = move if self.optim.plain else move * self.share
            weight.addcmul_(shared, rates, value=1 if adam else -1)

    def _adam(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """What Adam would add to each weight at rate 1: torch's own kernel, on zeros."""
        half = len(gradients)
        moves = [torch.zeros_like(gradient) for gradient in gradients]
        for i, gradient in enumerate(gradients):
            first, second = self.moments[i], self.moments[half + i]
            torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
                *([moves[i]], [gradient], [first], [second], [], [self.count]),
                lr=1.0, beta1=BETA_1, beta2=BETA_2, eps=self.eps[i],
                weight_decay=0.0, amsgrad=False, maximize=False,
            )  # fmt: skip
        return moves
