"""What a user writes: chains and residual networks of convolutions, transformers of images and of
texts, as nn.Module. Their parameters come in the order in which Fathom lists its layers."""

import math

import torch
from fathom.networks.tasks import CONTEXT
from fathom.spec import Net
from torch import Tensor, nn


class Norm(nn.Module):
    """Layer norm over the channels of every pixel, or batch norm by what is seen."""

    def __init__(self, net: Net, width: int) -> None:
        super().__init__()
        self.over = (1,) if net.norm == "layer" else (0, 2, 3)
        self.affine = net.affine
        if net.affine:
            self.gain, self.shift = (nn.Parameter(torch.full((width,), v)) for v in (1.0, 0.0))

    def forward(self, h: Tensor) -> Tensor:
        apart = h - h.mean(self.over, keepdim=True)
        h = apart / (apart.pow(2).mean(self.over, keepdim=True) + 1e-5).sqrt()
        if self.affine:
            h = h * self.gain[:, None, None] + self.shift[:, None, None]
        return h


def convolution(
    net: Net, channels: int, width: int, stride: int = 1, norm: bool = True
) -> nn.Sequential:
    """A convolution, and its norm."""
    circular, size = net.padding == "circular", net.kernel
    before, after = (size - 1) // 2, size // 2
    parts: list[nn.Module] = []
    if before < after:  # an even kernel sees one pixel more on one side
        pad = nn.CircularPad2d if circular else nn.ZeroPad2d
        parts.append(pad((before, after, before, after)))
    parts.append(
        nn.Conv2d(
            channels, width, size, stride, before if before == after else 0, bias=net.bias,
            padding_mode="circular" if circular else "zeros",
        )
    )  # fmt: skip
    return nn.Sequential(*parts, *([Norm(net, width)] if norm and net.norm != "none" else []))


class Chain(nn.Module):
    """Convolutions with phi between them, a mean over pixels, a read-out."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        self.phi = getattr(torch, net.phi)
        widths = [1, *(net.depth - 1) * [net.width]]
        self.layers = nn.ModuleList(convolution(net, width, net.width) for width in widths)
        self.readout = nn.Linear(net.width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        side = math.isqrt(x.shape[1])
        h = x.view(-1, 1, side, side)
        for layer in self.layers:
            h = self.phi(layer(h))
        return self.readout(h.mean((2, 3)))


class Residual(nn.Module):
    """A stem, one or three stages of branches h + gain F(h), a read-out."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net, self.phi = net, getattr(torch, net.phi)
        self.branch = net.gain
        staged, width = net.stages > 1, net.width
        self.stem = convolution(net, 1, width, 2 if staged else 1, norm=False)
        side = -(-math.isqrt(inputs) // 2) if staged else 1
        self.stages = nn.ModuleList()
        for stage in range(net.stages):
            parts = nn.ModuleList()
            if stage:
                parts.append(convolution(net, width, 2 * width, norm=False))
                width *= 2
            for _ in range(net.depth // net.stages):
                block = [convolution(net, width, width) for _ in range(net.block_depth)]
                parts.append(nn.ModuleList(block))
            self.stages.append(parts)
            side = -(-side // 2) if staged else side
        self.readout = nn.Linear(width * side**2, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        side = math.isqrt(x.shape[1])
        h = self.stem(x.view(-1, 1, side, side))
        for stage in self.stages:
            for part in stage.children():
                h = part(h) if isinstance(part, nn.Sequential) else self.added(part, h)
            if self.net.stages > 1:
                h = nn.functional.max_pool2d(h, 2, ceil_mode=True)
        return self.readout(h.flatten(1) if self.net.stages > 1 else h.mean((2, 3)))

    def added(self, block: nn.Module, h: Tensor) -> Tensor:
        z = h
        for one in block.children():
            z = one(self.phi(z)) if self.net.order == "pre" else self.phi(one(z))
        return h + self.branch * z


class Layer(nn.Module):
    """Attention with heads of 16, then an MLP four times as wide."""

    def __init__(self, net: Net, causal: bool = False) -> None:
        super().__init__()
        self.net, self.causal, self.branch, width = net, causal, net.gain, net.width
        linear = [nn.Linear(width, width, bias=False) for _ in range(4)]
        self.query, self.key, self.value, self.mix = linear
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        gains = [] if net.layer_scale is None else 2 * [torch.full((width,), net.layer_scale)]
        self.gains = nn.ParameterList(gain.clone() for gain in gains)

    def attention(self, h: Tensor) -> Tensor:
        batch, places, width = h.shape
        q, k, v = (
            part(h).view(batch, places, width // 16, 16).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        h = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=1 / 16)
        return self.scaled(0, self.mix(h.transpose(1, 2).reshape(batch, places, width)))

    def mlp(self, h: Tensor) -> Tensor:
        return self.scaled(1, self.down(nn.functional.gelu(self.up(h))))

    def scaled(self, branch: int, h: Tensor) -> Tensor:
        return h * self.gains[branch] if len(self.gains) else h

    def forward(self, h: Tensor) -> Tensor:
        where = self.net.placement
        before = self.norm if where == "pre" else nn.Identity()
        after = self.norm if where == "post" else nn.Identity()
        if self.net.parallel:
            z = before(h)
            return after(h + self.branch * (self.attention(z) + self.mlp(z)))
        h = after(h + self.branch * self.attention(before(h)))
        return after(h + self.branch * self.mlp(before(h)))


class Vision(nn.Module):
    """Patches, embeddings of their places, layers, a read-out of the mean over places."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net, self.side = net, math.isqrt(inputs) // net.patch
        self.patches = nn.Linear(net.patch**2, net.width, bias=False)
        self.places = nn.Embedding(self.side**2, net.width)
        self.layers = nn.ModuleList(Layer(net) for _ in range(net.depth))
        self.readout = nn.Linear(net.width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        cut = x.view(-1, self.side, self.net.patch, self.side, self.net.patch).transpose(2, 3)
        h = self.patches(cut.reshape(len(x), self.side**2, -1)) + self.places.weight
        for layer in self.layers:
            h = layer(h)
        if self.net.placement == "pre":
            h = nn.functional.layer_norm(h, h.shape[-1:])
        return self.readout(h.mean(1))


class Language(nn.Module):
    """A decoder-only language model."""

    def __init__(self, net: Net, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = net
        self.tokens = nn.Embedding(inputs, net.width)
        self.places = nn.Embedding(CONTEXT, net.width)
        self.layers = nn.ModuleList(Layer(net, causal=True) for _ in range(net.depth))
        self.readout = nn.Linear(net.width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places(torch.arange(x.shape[1], device=x.device))
        for layer in self.layers:
            h = layer(h)
        if self.net.placement == "pre":
            h = nn.functional.layer_norm(h, h.shape[-1:])
        return self.readout(h).flatten(0, 1)


FAMILIES = {"cnn": Chain, "resconv": Residual, "vit": Vision, "lm": Language}
