"""Training by autograd: a stack of runs of one shape, side by side, for every family."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fathom.networks.stack import Stack, column, epsilon, losses, rate, schedule, shrinkage, trained
from fathom.networks.tasks import task
from fathom.phi import Array
from fathom.training.kernels.operations import BETA_1, BETA_2

DROPPED = 2**20  # the stream of seeds of what is left out, far from those of layers
# torch lets a card round what convolutions multiply to ten bits, but not what matrices multiply
torch.backends.cudnn.allow_tf32 = False


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


class Dropout:
    """Which numbers a step leaves out of what each branch gives, by run and step alone."""

    def __init__(self, nets: Stack, share: float) -> None:
        self.nets, self.share = nets, share
        self.seeds = [run.seed for run in nets.runs]
        self.draws: list[torch.Generator] = []

    def begin(self, step: int) -> None:
        """Begin a step, whose numbers every run draws anew."""
        own = (np.random.SeedSequence([seed, DROPPED, step]) for seed in self.seeds)
        self.draws = [torch.Generator().manual_seed(int(one.generate_state(1)[0])) for one in own]

    def apply(self, i: int, h: Tensor) -> Tensor:
        """The i-th layer; behind the last matrix of a branch, with some of its numbers 0."""
        y, layer = self.nets.apply(i, h), self.nets.model.layers[i]
        if layer.role not in ("block", "block:2"):
            return y
        kept = torch.stack([torch.rand(y.shape[1:], generator=draw) for draw in self.draws])
        return y * (kept >= self.share).to(y) / (1 - self.share)


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
        moments = 2 if first.optim.kind == "adam" else 1 if first.optim.momentum else 0
        self.moments = [torch.zeros_like(w) for w in moments * self.weights]
        self.state = [part.detach() for part in (*self.weights, *self.moments)]
        # what differs from step to step lies in tensors, else a recorded step could not see it
        like = self.nets.branch
        self.index, self.loss = self.order[0].clone(), like.new_zeros(len(nets.runs))
        self.count, self.share = like.new_ones(()), like.new_ones(())
        self.replay = None
        self.dropout = Dropout(self.nets, first.net.dropout) if first.net.dropout else None
        if device == "cuda" and not self.dropout:
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
            if self.dropout:
                self.dropout.begin(step)
            (self.replay or self._step)()
            curve.append(self.loss.clone())
        return torch.stack(curve, 1).double().cpu().numpy()

    def _step(self) -> None:
        nets, x = self.nets, self.task.x[self.index]
        apply = self.dropout.apply if self.dropout else nets.apply
        outputs, _ = nets.model.forward(apply, nets.branch, x)
        loss = losses(outputs, self.task.y[self.index])
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
        if self.optim.momentum:
            for velocity, gradient in zip(self.moments, gradients, strict=True):
                velocity.mul_(self.optim.momentum).add_(gradient)
            moves = self.moments
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
