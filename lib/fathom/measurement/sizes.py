"""The coordinate check of any family: how large its parts are, and how far they move."""

import math
from collections.abc import Sequence

import torch

from fathom.measurement.observe import examples, observe, rms
from fathom.networks.stack import stack
from fathom.spec import Run
from fathom.training.train import learned


def sizes(runs: Sequence[Run]) -> list[dict[str, float]]:
    """Root mean squares over 64 examples never trained on and all units, at initialisation and of
    the change after the run's steps.

    Per run: unit_size and unit_move of the last unit (the stream after the last branch, a chain's
    last pre-activation), hidden_size and hidden_move of what the matrix in the middle of the
    network gives, output_size and output_move; moves are inf where a run has diverged. Under a
    parametrization that scales width or depth as it should, none grows with it; only an output may
    begin smaller the wider a network is.
    Source: Depthwise transfer, claim C8 of our notes; Tensor Programs V, its coordinate checks.
    """
    (x, _), nets = examples(runs), stack(runs)
    (taught,) = learned(nets, [runs[0].optim.steps])
    blocks = [i for i, layer in enumerate(nets.model.layers) if layer.role.startswith("block")]
    middle, net = blocks[len(blocks) // 2] if blocks else 0, runs[0].net
    if net.family == "linearised":  # of two in a block the first, which no change precedes
        middle = nets.model.hidden[net.depth // 2]
    with torch.no_grad():
        before, after = observe(nets, x), observe(taught, x)
    pairs = {
        "unit": (before.stream[-1], after.stream[-1]),
        "hidden": (before.layers[middle][1], after.layers[middle][1]),
        "output": (before.outputs, after.outputs),
    }
    found = {}
    if net.family == "linearised":  # what a matrix has learned is a layer of its own
        then, now = pairs["hidden"]
        pairs["hidden"] = then, now + after.layers[middle + len(blocks)][1]
    for name, (then, now) in pairs.items():
        moved = rms(now - then).nan_to_num(math.inf, math.inf)  # inf where a run has diverged
        found |= {f"{name}_size": rms(then), f"{name}_move": moved}
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(runs))]
