"""A decoder-only language model: x = x + branch attention(LN x), x = x + branch MLP(LN x)."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fathom.networks.layers import Apply, Linear, Model, layer_norm, nonlinearity
from fathom.networks.tasks import CONTEXT
from fathom.spec import Net

HEAD = 16  # width of an attention head; a wider network has more of them


def lm(net: Net, inputs: int | None, outputs: int) -> Model:
    """Embeddings of tokens and places, `depth` layers of two branches each, a read-out.

    Both branches of a layer, attention and an MLP four times as wide, take a normalised
    stream and bear the branch factor. Attention scores are divided by the width of a head
    (muP), no layer norm has weights, a last one precedes the read-out. Units: the stream
    after each layer, shape (runs, batch x context, width). `inputs` is the number of tokens.
    Source: Tensor Programs VI, section 9.4; CompleteP (Dey et al. 2025), Table 1.
    """
    width, phi = net.width, nonlinearity(net.phi)
    layer = (
        *3 * [Linear("block:1", width, width)],
        Linear("block:2", width, width),
        Linear("block:1", width, 4 * width),
        Linear("block:2", 4 * width, width),
    )
    ends = Linear("embed", inputs or width, width), Linear("embed", CONTEXT, width)
    layers = (*ends, *net.depth * layer, Linear("readout", width, outputs))

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        runs, batch, context = x.shape

        def attention(first: int, h: Tensor) -> Tensor:
            size = (runs * batch, context, width // HEAD, HEAD)
            q, k, v = (apply(first + i, h).reshape(size).transpose(1, 2) for i in range(3))
            mixed = scaled_dot_product_attention(q, k, v, is_causal=True, scale=1 / HEAD)
            return apply(first + 3, mixed.transpose(1, 2).reshape(runs, -1, width))

        places = torch.arange(context, device=x.device).expand(runs, batch, context)
        stream, units = apply(0, x) + apply(1, places), []
        for first in range(2, len(layers) - 1, len(layer)):
            stream = stream + branch * attention(first, layer_norm(stream))
            hidden = phi(apply(first + 4, layer_norm(stream)))
            stream = stream + branch * apply(first + 5, hidden)
            units.append(stream)
        return apply(len(layers) - 1, layer_norm(stream)), units

    return Model(layers, forward)
