"""What a user writes: one network as nn.Module, torch.optim, one run after the other.

Default settings, one thread, as in the tutorials. It serves every nonlinearity and every
family, and needs nothing of Fathom but the description of a run and the data.
"""

from itertools import pairwise

import torch
from fathom.networks.tasks import CONTEXT, task
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


class Layer(nn.Module):
    """Causal attention with heads of 16, then an MLP four times as wide, each behind a norm."""

    def __init__(self, width: int, branch: float) -> None:
        super().__init__()
        self.branch, self.heads, self.norm = branch, width // 16, nn.LayerNorm(width, bias=False)
        self.norm.weight.requires_grad_(False)
        self.query, self.key, self.value, self.mix = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        batch, context, width = h.shape
        x = self.norm(h)
        q, k, v = (
            part(x).view(batch, context, self.heads, 16).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        x = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1 / 16)
        h = h + self.branch * self.mix(x.transpose(1, 2).reshape(batch, context, width))
        return h + self.branch * self.down(nn.functional.gelu(self.up(self.norm(h))))


class Transformer(nn.Module):
    """A decoder-only language model."""

    def __init__(self, net: Net, tokens: int, outputs: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, net.width)
        self.places = nn.Embedding(CONTEXT, net.width)
        self.layers = nn.ModuleList(Layer(net.width, net.gain) for _ in range(net.depth))
        self.readout = nn.Linear(net.width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        for layer in self.layers:
            h = layer(h)
        return self.readout(nn.functional.layer_norm(h, h.shape[-1:])).flatten(0, 1)


FAMILIES = {"mlp": Chain, "resmlp": Residual, "lm": Transformer}


def train(run: Run, steps: int, start: list[Tensor] | None = None) -> list[float]:
    """The losses of a run's first steps; `start` are the weights (fan_in, fan_out) to begin
    with, torch's own without it."""
    about, rate = task(run.task), 2.0**run.optim.log2_lr
    model = FAMILIES[run.net.family](run.net, about.inputs or run.net.width, about.outputs)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    looked_up = 2 if run.net.family == "lm" else 0
    for i, (weight, value) in enumerate(zip(weights, start or [], strict=bool(start))):
        weight.data.copy_(value if i < looked_up else value.T)
    for frozen in [] if run.net.train_ends else [weights.pop(0), weights.pop()]:
        frozen.requires_grad_(False)
    optim = (torch.optim.Adam if run.optim.kind == "adam" else torch.optim.SGD)(weights, rate)
    order = about.batches(run.seed, run.optim.batch, run.optim.steps)
    curve = []
    for rows in order[:steps]:
        loss = nn.functional.cross_entropy(model(about.x[rows]), about.y[rows].flatten())
        optim.zero_grad()
        loss.backward()
        optim.step()
        curve.append(loss.item())
    return curve
