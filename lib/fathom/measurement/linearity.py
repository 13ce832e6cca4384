"""How far a trained block is from its linearisation in its own weights."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fathom.measurement.observe import entered, examples, observe, rms
from fathom.networks.families.linearised import expanded
from fathom.networks.layers import Block
from fathom.networks.stack import Stack, stack
from fathom.spec import Run
from fathom.training.train import learned


@torch.no_grad()
def linearisation(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How much of what the middle block does has been learned, and how much of that is not
    linear in its weights' change, after the run's steps, on 64 examples never seen.

    Per run, all root mean squares over examples and width: weight_share, what the change of
    the block's first matrix (of a transformer's layer, of its MLP's) does to its input over what
    the matrix did at the start; block_share, the block's change to first order over the block at
    the start; remainder, the rest of its change over the first order. remainder_median is the
    median over examples and width of the rest's size over the first order's, entry by entry.
    A transformer's block is a whole layer, what it adds to its stream. Not for chains,
    which have no blocks. Source: Tensor Programs VI, section 9.2 and claim C24 of our notes; Dey
    et al. 2025.
    """
    with torch.enable_grad():
        before = stack(runs)
        block = before.model.block
        assert block is not None  # chains have none, and are refused
        (after,) = learned(before, [runs[0].optim.steps])
    k, stream = _middle(after, examples(runs)[0])
    then, now = _precise(before), _precise(after)
    weights = [b - a for a, b in zip(then.weights, now.weights, strict=True)]
    change = then._replace(weights=weights)
    start, linear = _expanded(block, then, change, k, stream)
    whole = block(now.apply, now.branch, k, stream)
    rest = whole - start - linear
    first, inputs = before.model.hidden[k], dict[int, Tensor]()

    def watched(i: int, h: Tensor) -> Tensor:
        inputs[i] = h
        return then.apply(i, h)

    block(watched, then.branch, k, stream)
    parts = [one.apply(first, inputs[first]) for one in (change, then)]
    found = {
        "weight_share": rms(parts[0]) / rms(parts[1]),
        "block_share": rms(linear) / rms(start),
        "remainder": rms(rest) / rms(linear),
        "remainder_median": (rest / linear).abs().flatten(1).nanmedian(1).values,
    }
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(runs))]


def _middle(nets: Stack, x: Tensor) -> tuple[int, Tensor]:
    """The block in the middle, counted from 0, and the stream that it is given."""
    net, here = nets.runs[0].net, observe(nets, x)
    stages = net.stages if net.family == "resconv" else 1
    each = net.depth // stages
    k = stages // 2 * each + each // 2
    new = k and k % each == 0  # the first of its stage
    stream = entered(nets, here.layers, nets.model.blocks[k]) if new else here.stream[k]
    return k, stream.double()


def _expanded(
    block: Block, then: Stack, change: Stack, k: int, stream: Tensor
) -> tuple[Tensor, Tensor]:
    """A block under the weights it began with, and to first order what their change adds."""
    net, first = then.runs[0].net, then.model.blocks[k]
    if net.family == "resmlp":
        return expanded(net, then.apply, change.apply, first, stream)

    def under(*weights: Tensor) -> Tensor:
        return block(then._replace(weights=list(weights)).apply, then.branch, k, stream)

    with sdpa_kernel(SDPBackend.MATH):  # which has derivatives forward
        found = torch.func.jvp(under, tuple(then.weights), tuple(change.weights))
    return found[0], found[1]


def _precise(nets: Stack) -> Stack:
    """The networks in double precision: the remainder is a small difference of large parts."""
    weights, mults = ([part.double() for part in parts] for parts in (nets.weights, nets.mults))
    return nets._replace(weights=weights, mults=mults, branch=nets.branch.double())
