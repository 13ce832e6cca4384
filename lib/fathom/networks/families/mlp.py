"""The plain chain: z^1 = W^1 x, z^(l+1) = W^(l+1) phi(z^l), f = V phi(z^L)."""

from torch import Tensor

from fathom.networks.layers import Apply, Linear, Model, nonlinearity
from fathom.spec import Net


def mlp(net: Net, inputs: int | None, outputs: int) -> Model:
    """A chain of `depth` matrices and a read-out.

    Where the input is as wide as the network, its matrix grows on both sides and is
    therefore scaled as a block. Units: the pre-activations z^1 ... z^L.
    """
    first = Linear("input", inputs, net.width) if inputs else Linear("block", net.width, net.width)
    block = Linear("block", net.width, net.width)
    layers = (first, *(net.depth - 1) * [block], Linear("readout", net.width, outputs))
    phi = nonlinearity(net.phi)

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        del branch
        units = [apply(0, x)]
        for i in range(1, net.depth):
            units.append(apply(i, phi(units[-1])))
        return apply(net.depth, phi(units[-1])), units

    return Model(layers, forward, tuple(range(net.depth)))
