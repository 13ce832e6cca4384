"""The coordinate check: how large things are along depth, before and after training, on 64
examples never trained on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fathom.measurement.observe import examples, observe, rms
from fathom.networks.layers import center
from fathom.networks.stack import Stack, losses, stack
from fathom.phi import phi
from fathom.spec import Refused, Run
from fathom.training.train import learned


def coordinates(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How large things are at initialisation, and how far they have moved after the run's
    steps; each is a power of depth that a parametrization decides.

    Per run: stream_init, the last stream minus the first, before training; stream_move and
    output_move, the change of the last stream and of the output; hidden_init, hidden_move: a
    pre-activation in the middle, of two in a block the first, and its change; weight_move, what
    the middle matrix's own change does to its input; rest, the part of the middle block's
    change that is not linear in its matrix's change, times depth; decorrelation, the cosine of
    the loss's gradients on two neighbouring pre-activations in the middle over that on their
    streams, before training. Raises Refused for a single block. Source: Tensor Programs VI,
    section 7 and appendix D; Claim 7.6.
    """
    x, y = examples(runs)
    if runs[0].net.depth < 2:
        raise Refused("depth 1: coordinates are measured on two blocks or more")
    nets = stack(runs)
    (taught,) = learned(nets, [runs[0].optim.steps])
    alike = _decorrelation(nets, x, y)
    _, middle, _ = _middle(nets)
    with torch.no_grad():
        before, after = observe(nets, x), observe(taught, x)
        h, now = after.layers[middle]
        then = torch.bmm(h, nets.weights[middle]) * nets.mults[middle]
        name, depth = runs[0].net.phi, runs[0].net.depth
        bent = [torch.from_numpy(phi(name).f(part.double().numpy())) for part in (now, then)]
        slope = torch.from_numpy(phi(name).df(then.double().numpy()))
        rest = center(bent[0] - bent[1] - slope * (now - then).double())
        found = {
            "stream_init": rms(before.stream[-1] - before.stream[0]),
            "stream_move": rms(after.stream[-1] - before.stream[-1]),
            "output_move": rms(after.outputs - before.outputs),
            "hidden_init": rms(before.layers[middle][1]),
            "hidden_move": rms(now - before.layers[middle][1]),
            "weight_move": rms(now - then),
            "rest": depth * rms(nets.branch * rest),
            "decorrelation": alike,
        }
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(runs))]


def _middle(nets: Stack) -> tuple[int, int, int]:
    """The block in the middle, counted from 1, such that one more follows before the read-out;
    its first layer, and the first of the next."""
    each = nets.runs[0].net.block_depth
    blocks = (len(nets.model.layers) - 2) // each
    middle = min(blocks // 2 + 1, blocks - 1)
    return middle, 1 + (middle - 1) * each, 1 + middle * each


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
