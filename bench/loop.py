"""What a user writes: one network as nn.Module, torch.optim, one run after the other.

Default settings, one thread, as in the tutorials. It serves every nonlinearity and both
families, and needs nothing of Fathom but the description of a run and the data.
"""

from itertools import pairwise

import torch
from fathom.net.data import task
from fathom.spec import Net, Run
from torch import Tensor, nn


class Chain(nn.Module):
    """Matrices with phi between them."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = [inputs, *net.depth * [net.width], outputs]
        self.phi = getattr(torch, net.phi)
        self.layers = nn.ModuleList(nn.Linear(*pair, bias=False) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers[0](x)
        for layer in self.layers[1:]:
            h = layer(self.phi(h))
        return h


class Residual(nn.Module):
    """A stem, blocks h + phi(W h) / sqrt(L), with mean subtraction where asked, a read-out."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        self.phi, self.center, self.branch = getattr(torch, net.phi), net.center, net.depth**-0.5
        self.stem = nn.Linear(inputs, net.width, bias=False)
        self.blocks = nn.ModuleList(
            nn.Linear(net.width, net.width, bias=False) for _ in range(net.depth)
        )
        self.readout = nn.Linear(net.width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            z = self.phi(block(h))
            if self.center:
                z = z - z.mean(-1, keepdim=True)
            h = h + self.branch * z
        return self.readout(h)


def train(run: Run, steps: int, start: list[Tensor] | None = None) -> list[float]:
    """The losses of a run's first steps; `start` are the weights (fan_in, fan_out) to begin
    with, torch's own without it."""
    about, rate = task(run.task), 2.0**run.optim.log2_lr
    family = Chain if run.net.family == "mlp" else Residual
    model = family(run.net, about.inputs or run.net.width, about.outputs)
    weights = list(model.parameters())
    for weight, value in zip(weights, start or [], strict=bool(start)):
        weight.data.copy_(value.T)
    for frozen in [] if run.net.train_ends else [weights.pop(0), weights.pop()]:
        frozen.requires_grad_(False)
    optim = (torch.optim.Adam if run.optim.kind == "adam" else torch.optim.SGD)(weights, rate)
    order = about.batches(run.seed, run.optim.batch, run.optim.steps)
    curve = []
    for rows in order[:steps]:
        loss = nn.functional.cross_entropy(model(about.x[rows]), about.y[rows])
        optim.zero_grad()
        loss.backward()
        optim.step()
        curve.append(loss.item())
    return curve
