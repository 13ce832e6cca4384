"""The coordinate check: how large things are along depth, before and after training, on 64
examples never trained on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fathom.measurement.observe import ForwardPass, entered, examples, observe, rms
from fathom.networks.families.convolution import convolved
from fathom.networks.families.transformer import MATRICES
from fathom.networks.layers import Conv, along, center
from fathom.networks.stack import Stack, losses, stack
from fathom.phi import phi
from fathom.spec import Run
from fathom.training.train import learned


def coordinates(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How large things are at initialisation, and how far they have moved after the run's
    steps; each is a power of depth that a parametrization decides.

    Per run: stream_init, the last stream minus the first, before training (in a network of
    stages, of the last); stream_move and output_move, the change of the last stream and of the
    output; hidden_init, hidden_move: a pre-activation in the middle, of two in a block the first,
    of a transformer's layer that of its MLP, and its change; weight_move, what the middle matrix's
    own change does to it; rest, the part of what phi makes of that which is not linear in it, times
    depth and the branch factor; decorrelation, the cosine of the loss's gradients on what two
    neighbouring such matrices give over that on their streams, before training, which are one and
    the same in a chain without norms. Wants two blocks or more, and as many in every stage.
    Source: Tensor Programs VI, section 7 and appendix D; Claim 7.6.
    """
    x, y = examples(runs)
    nets = stack(runs)
    _, middle, _ = _middle(nets)
    (taught,) = learned(nets, [runs[0].optim.steps])
    alike = _decorrelation(nets, x, y)
    own = [(nets if i == middle else taught).weights[i] for i in range(len(nets.weights))]
    with torch.no_grad():
        before, after = observe(nets, x), observe(taught, x)
        h = after.layers[middle][0]
        begun = _bent(nets, middle, before.layers[middle][0])
        now, then = (_bent(one, middle, h) for one in (taught, taught._replace(weights=own)))
        name, depth = runs[0].net.phi, runs[0].net.depth
        bent = [torch.from_numpy(phi(name).f(part.double().numpy())) for part in (now, then)]
        slope = torch.from_numpy(phi(name).df(then.double().numpy()))
        rest = center(bent[0] - bent[1] - slope * (now - then).double())
        found = {
            "stream_init": rms(before.stream[-1] - _first(nets, before)),
            "stream_move": rms(after.stream[-1] - before.stream[-1]),
            "output_move": rms(after.outputs - before.outputs),
            "hidden_init": rms(begun),
            "hidden_move": rms(now - begun),
            "weight_move": rms(now - then),
            "rest": depth * rms(along(nets.branch, rest) * rest),
            "decorrelation": alike,
        }
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(runs))]


def _middle(nets: Stack) -> tuple[int, int, int]:
    """The unit in the middle, counted from 1, such that one more follows in its stage; the layer of
    its pre-activation, and that of the next."""
    net, model = nets.runs[0].net, nets.model
    stages = net.stages if net.family == "resconv" else 1
    each = net.depth // stages
    chain = not model.blocks  # whose first matrix is its stem
    inside = min((each - chain) // 2 + 1, each - chain - 1) + chain
    middle = stages // 2 * each + inside
    return middle, model.hidden[middle - 1], model.hidden[middle]


def _bent(nets: Stack, i: int, h: Tensor) -> Tensor:
    """The pre-activation that a layer makes of its input, with its bias and its norm."""
    net = nets.runs[0].net
    if isinstance(nets.model.layers[i], Conv):
        return convolved(net, nets.apply, i, h)
    return nets.apply(i + len(MATRICES), nets.apply(i, h)) if net.bias else nets.apply(i, h)


def _first(nets: Stack, here: ForwardPass) -> Tensor:
    """The stream before the first block, or before the first of the last stage."""
    net, blocks = nets.runs[0].net, nets.model.blocks
    if net.family != "resconv":
        return here.stream[0]
    return entered(nets, here.layers, blocks[net.depth - net.depth // net.stages])


def _decorrelation(nets: Stack, x: Tensor, y: Tensor) -> Tensor:
    """Cosine between neighbouring pre-activations' gradients over that of their streams."""
    for weight in nets.weights:
        weight.requires_grad_()
    here, (block, first, second) = observe(nets, x), _middle(nets)
    wanted = [here.layers[first][1], here.layers[second][1], *here.stream[block : block + 2]]
    grads = torch.autograd.grad(losses(here.outputs, y).sum(), wanted)
    for weight in nets.weights:
        weight.requires_grad_(False)
    rows = [grad.double().flatten(1) for grad in grads]
    inside = torch.cosine_similarity(rows[0], rows[1], dim=1)
    return inside / torch.cosine_similarity(rows[2], rows[3], dim=1)
