"""What a user writes: one network as nn.Module, torch.optim, one run after the other.

Default settings, one thread, as in the tutorials. It serves every nonlinearity and every
family, and needs nothing of Fathom but the description of a run and the data.
"""

from collections.abc import Callable
from itertools import pairwise

import loop_families
import torch
from fathom.networks.tasks import task
from fathom.spec import Net, Run
from torch import Tensor, nn

PHI: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "abs": torch.abs,
    "tanh": torch.tanh,
    "gelu": nn.functional.gelu,
    "linear": nn.Identity(),
}


class Chain(nn.Module):
    """Matrices with phi between them."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = [inputs, *net.depth * [net.width], outputs]
        self.phi = PHI[net.phi]
        self.layers = nn.ModuleList(nn.Linear(*pair, bias=False) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers[0](x)
        for layer in self.layers[1:]:
            h = layer(self.phi(h))
        return h


def blocks(net: Net) -> nn.ModuleList:
    """The matrices of every block."""
    return nn.ModuleList(
        nn.ModuleList(nn.Linear(net.width, net.width, bias=False) for _ in range(net.block_depth))
        for _ in range(net.depth)
    )


class Residual(nn.Module):
    """A stem, blocks h + F(h) / sqrt(L) of one or two matrices, each with phi after it, with layer
    norm and mean subtraction where asked, a read-out."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        self.phi, self.center, self.branch = PHI[net.phi], net.center, net.depth**-0.5
        self.stem, self.blocks = nn.Linear(inputs, net.width, bias=False), blocks(net)
        layer = net.norm == "layer"
        self.norm = nn.LayerNorm(net.width, elementwise_affine=False) if layer else nn.Identity()
        self.readout = nn.Linear(net.width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for number in range(len(self.blocks)):
            z = self.block(number, self.norm(h))
            if self.center:
                z = z - z.mean(-1, keepdim=True)
            h = h + self.branch * z
        return self.readout(h)

    def block(self, number: int, z: Tensor) -> Tensor:
        for matrix in self.blocks[number].children():
            z = self.phi(matrix(z))
        return z


class Linearised(Residual):
    """The same, every block replaced by its linearisation in the change of its matrices."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__(net, inputs, outputs)
        self.blocks.requires_grad_(False)
        del self.readout
        self.changes = blocks(net)
        self.readout = nn.Linear(net.width, outputs, bias=False)  # the last, as in what is given
        for change in self.changes.parameters():
            nn.init.zeros_(change)

    def block(self, number: int, z: Tensor) -> Tensor:
        moved = torch.zeros_like(z)
        pairs = zip(self.blocks[number].children(), self.changes[number].children(), strict=True)
        for matrix, change in pairs:
            z, moved = matrix(z), matrix(moved) + change(z)
            z, moved = torch.func.jvp(self.phi, (z,), (moved,))[:2]
        return z + moved


FAMILIES = {"mlp": Chain, "resmlp": Residual, "linearised": Linearised}
FAMILIES |= loop_families.FAMILIES


def train(run: Run, steps: int, start: list[Tensor] | None = None) -> list[float]:
    """The losses of a run's first steps; `start` are the weights (fan_in, fan_out) to begin
    with, torch's own without it."""
    step = prepared(run, start)
    return [step(number).item() for number in range(steps)]


def prepared(
    run: Run, start: list[Tensor] | None = None, device: str = "cpu"
) -> Callable[[int], Tensor]:
    """A run's step as a function of its number, for steps in turn; it gives the loss."""
    about, rate = task(run.task), 2.0**run.optim.log2_lr
    with torch.device(device):
        model = FAMILIES[run.net.family](run.net, about.inputs or run.net.width, about.outputs)
    weights = list(model.parameters())
    matrices = {part.weight for part in model.modules() if isinstance(part, nn.Linear)}
    for weight, value in zip(weights, start or [], strict=bool(start)):
        weight.data.copy_(value.T if weight in matrices else value.reshape(weight.shape))
    for frozen in [] if run.net.train_ends else [weights[0], weights[-1]]:
        frozen.requires_grad_(False)
    learning = [weight for weight in weights if weight.requires_grad]
    kind, momentum = run.optim.kind, run.optim.momentum
    adam = torch.optim.Adam(learning, rate) if kind == "adam" else None
    optim = adam or torch.optim.SGD(learning, rate, momentum=momentum)
    order = about.batches(run.seed, run.optim.batch, run.optim.steps).to(device)
    x, y = about.x.to(device), about.y.to(device)

    def step(number: int) -> Tensor:
        rows = order[number]
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows].flatten())
        optim.zero_grad()
        loss.backward()
        optim.step()
        return loss.detach()

    return step
