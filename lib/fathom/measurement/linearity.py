"""How far a trained block is from its linearisation in its own weights."""

from collections.abc import Sequence

import torch

from fathom.measurement.observe import examples, observe, rms
from fathom.networks.families.linearised import expanded
from fathom.networks.families.resmlp import block
from fathom.networks.stack import Stack, stack
from fathom.spec import Refused, Run
from fathom.training.train import learned


@torch.no_grad()
def linearisation(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How much of what the middle block does has been learned, and how much of that is not
    linear in its weights' change, after the run's steps, on 64 examples never seen.

    Per run, all root mean squares over examples and width: weight_share, what the change of
    the block's first matrix does to its input over what the matrix did at the start;
    block_share, the block's change to first order over the block at the start; remainder, the
    rest of its change over the first order. remainder_median is the median over examples and
    width of the rest's size over the first order's, entry by entry. Raises Refused for a
    chain, which has no blocks. Source: Tensor Programs VI, section 9.2 and claim C24 of our
    notes; Dey et al. 2025.
    """
    net = runs[0].net
    if net.family != "resmlp":
        raise Refused(f"family {net.family}: linearisation is measured on resmlp; give that")
    with torch.enable_grad():
        before = stack(runs)
        (after,) = learned(before, [runs[0].optim.steps])
    first = 1 + net.depth // 2 * net.block_depth
    stream = observe(after, examples(runs)[0]).stream[net.depth // 2].double()
    then, now = _precise(before), _precise(after)
    weights = [b - a for a, b in zip(then.weights, now.weights, strict=True)]
    change = then._replace(weights=weights)
    whole = block(net, now.apply, first, stream)
    start, linear = expanded(net, then.apply, change.apply, first, stream)
    rest = whole - start - linear
    found = {
        "weight_share": rms(change.apply(first, stream)) / rms(then.apply(first, stream)),
        "block_share": rms(linear) / rms(start),
        "remainder": rms(rest) / rms(linear),
        "remainder_median": (rest / linear).abs().flatten(1).nanmedian(1).values,
    }
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(runs))]


def _precise(nets: Stack) -> Stack:
    """The networks in double precision: the remainder is a small difference of large parts."""
    weights, mults = ([part.double() for part in parts] for parts in (nets.weights, nets.mults))
    return nets._replace(weights=weights, mults=mults)
