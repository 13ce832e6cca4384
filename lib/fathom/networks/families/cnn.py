"""The plain chain of convolutions: z^1 = W^1 * x, z^(l+1) = W^(l+1) * phi(z^l), then the mean over
all places and a read-out."""

from torch import Tensor

from fathom.networks.families.convolution import convolution, convolved, sides_of
from fathom.networks.layers import Apply, Linear, Model, images, nonlinearity
from fathom.spec import Net


def cnn(net: Net, inputs: int | None, outputs: int) -> Model:
    """A chain of `depth` convolutions of stride 1 with `width` channels, and a read-out of the
    last one's phi, averaged over places. Units: the pre-activations z^1 ... z^L, as images.
    Source: arXiv 2510.04327, its programs; arXiv 2602.07494, section 4."""
    (side,), phi = sides_of(net, inputs), nonlinearity(net.phi)
    chain = [convolution(net, "input", 1, net.width, side)]
    chain += (net.depth - 1) * [convolution(net, "block", net.width, net.width, side)]
    size = len(chain[0])
    layers = (*sum(chain, ()), Linear("readout", net.width, outputs))

    def forward(apply: Apply, branch: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        del branch
        units = [convolved(net, apply, 0, images(x))]
        for first in range(size, len(layers) - 1, size):
            units.append(convolved(net, apply, first, phi(units[-1])))
        return apply(len(layers) - 1, phi(units[-1]).mean((3, 4))), units

    return Model(layers, forward, tuple(range(0, len(layers) - 1, size)))
