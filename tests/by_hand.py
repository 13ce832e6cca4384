"""Transformers made of torch's own layers, and a loop over torch.optim: another way to the losses
of a run, which shares with the library only the data and the numbers it begins with."""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from fathom.networks.tasks import CONTEXT, task
from fathom.spec import Net, Run
from torch import Tensor, nn

HEAD = 16


class Layer(nn.Module):
    """Attention and an MLP four times as wide, as branches of a stream."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net, width = net, net.width
        sizes = 4 * [(width, width)] + [(width, 4 * width), (4 * width, width)]
        self.linear = nn.ModuleList(nn.Linear(*size, bias=net.bias) for size in sizes)
        norms = 1 if net.parallel else 2
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, elementwise_affine=net.affine) for _ in range(norms)
        )
        self.scales = nn.ParameterList(
            torch.ones(width) for _ in range(2 if net.layer_scale else 0)
        )

    def listed(self) -> Iterator[nn.Parameter]:
        """The parameters in the order in which Fathom lists a layer's."""
        for name in ("weight", "bias") if self.net.bias else ("weight",):
            yield from (getattr(part, name) for part in self.linear)
        for branch in range(2):
            for norm in islice(self.norms, branch, branch + 1):
                yield from norm.parameters()
            yield from islice(self.scales, branch, branch + 1)

    def attention(self, h: Tensor, causal: bool) -> Tensor:
        query, key, value, mix, *_ = self.linear
        heads = (*h.shape[:2], -1, HEAD)
        q, k, v = (part(h).reshape(heads) for part in (query, key, value))
        scores = torch.einsum("bqhi,bkhi->bhqk", q, k) / HEAD
        if causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        return mix(torch.einsum("bhqk,bkhi->bqhi", scores.softmax(-1), v).flatten(2))

    def mlp(self, h: Tensor) -> Tensor:
        *_, up, down = self.linear
        return down(nn.functional.gelu(up(h)))

    def forward(self, h: Tensor, causal: bool) -> Tensor:
        where, gains = self.net.placement, [self.net.gain * one for one in self.scales or (1, 1)]
        if self.net.parallel:
            (norm,) = self.norms
            z = norm(h) if where == "pre" else h
            h = h + gains[0] * self.attention(z, causal) + gains[1] * self.mlp(z)
            return norm(h) if where == "post" else h
        first, second = self.norms
        if where == "pre":
            h = h + gains[0] * self.attention(first(h), causal)
            return h + gains[1] * self.mlp(second(h))
        h = h + gains[0] * self.attention(h, causal)
        h = first(h) if where == "post" else h
        h = h + gains[1] * self.mlp(h)
        return second(h) if where == "post" else h


class Transformer(nn.Module):
    """A language model of tokens, or a vision transformer on images of one channel."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net, self.side, width = net, math.isqrt(inputs), net.width
        self.text = net.family == "lm"
        places = CONTEXT if self.text else (self.side // net.patch) ** 2
        patches = nn.Linear(net.patch**2, width, bias=net.bias)
        self.stem = nn.Embedding(inputs, width) if self.text else patches
        self.places = nn.Embedding(places, width)
        self.layers = nn.ModuleList(Layer(net) for _ in range(net.depth))
        pre = net.placement == "pre"
        last = nn.LayerNorm(width, elementwise_affine=net.affine)
        self.last = last if pre else nn.Identity()
        self.readout = nn.Linear(width, outputs, bias=False)

    def listed(self) -> Iterator[nn.Parameter]:
        """All parameters in Fathom's order."""
        yield from (*self.stem.parameters(), *self.places.parameters())
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield from layer.listed()
        yield from (*self.last.parameters(), *self.readout.parameters())

    def forward(self, x: Tensor) -> Tensor:
        if not self.text:
            image = x.reshape(-1, 1, self.side, self.side)
            size = self.net.patch
            x = nn.functional.unfold(image, size, stride=size).transpose(1, 2)
        h = self.stem(x) + self.places.weight
        for layer in self.layers:
            h = layer(h, self.text)
        h = self.last(h)
        return self.readout(h).flatten(0, 1) if self.text else self.readout(h.mean(1))


def losses(model: nn.Module, run: Run, start: list[Tensor]) -> Tensor:
    """The losses of a run's steps, for a model whose output is divided by gamma_0 and all of which
    has one rate, times gamma_0^2 under SGD and gamma_0 under Adam. `start` are the weights to
    begin with, (fan_in, fan_out) where they are matrices."""
    listed = model.listed() if isinstance(model, Transformer) else model.parameters()
    matrices = {part.weight for part in model.modules() if isinstance(part, nn.Linear)}
    parameters = list(listed)
    for here, value in zip(parameters, start, strict=True):
        here.data.copy_(value.T if here in matrices else value.reshape(here.shape))
    about, gamma, rate = task(run.task), run.net.gamma_0, 2.0**run.optim.log2_lr
    optim = (
        torch.optim.SGD(parameters, rate * gamma**2, momentum=run.optim.momentum)
        if run.optim.kind == "sgd"
        else torch.optim.Adam(parameters, rate * gamma, eps=1e-12)
    )
    found = []
    for rows in about.batches(run.seed, run.optim.batch, run.optim.steps):
        loss = nn.functional.cross_entropy(model(about.x[rows]) / gamma, about.y[rows].flatten())
        optim.zero_grad()
        loss.backward()
        optim.step()
        found.append(loss.detach())
    return torch.stack(found)
