"""A decoder-only language model: x = x + branch attention(LN x), x = x + branch MLP(LN x)."""

import torch
from torch import Tensor

from fathom.networks.families.transformer import (
    finished,
    last_norm,
    layered,
    through,
    transformer_layer,
)
from fathom.networks.layers import Apply, Linear, Model
from fathom.networks.tasks import CONTEXT
from fathom.spec import Net


def lm(net: Net, inputs: int | None, outputs: int) -> Model:
    """Embeddings of tokens and places, `depth` layers of two branches each, a read-out.

    Both branches of a layer, attention and an MLP four times as wide, take a normalised
    stream and bear the branch factor. Attention scores are divided by the width of a head
    (muP), no layer norm has weights unless `affine` asks for them, a last one precedes the
    read-out. Units: the stream after each layer, shape (runs, batch x context, width). `inputs`
    is the number of tokens. Source: Tensor Programs VI, section 9.4; CompleteP (Dey et al. 2025),
    Table 1.
    """
    layer = transformer_layer(net, CONTEXT)
    ends = (
        Linear("embed", inputs or net.width, net.width, CONTEXT),
        Linear("embed", CONTEXT, net.width, CONTEXT),
    )
    top = last_norm(net)
    readout = Linear("readout", net.width, outputs, CONTEXT)
    layers = (*ends, *net.depth * layer, *top, readout)

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        places = torch.arange(CONTEXT, device=x.device).expand(x.shape)
        stream, units = apply(0, x) + apply(1, places), []
        for first in range(2, 2 + net.depth * len(layer), len(layer)):
            stream = through(net, apply, first, branch, stream, CONTEXT, causal=True)
            units.append(stream)
        seen = finished(net, apply, len(layers) - 1 - len(top), stream)
        return apply(len(layers) - 1, seen), units

    return layered(net, layers, forward, 2, CONTEXT, causal=True)
