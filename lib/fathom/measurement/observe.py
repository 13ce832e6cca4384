"""What every measurement begins with: one forward pass looked at layer by layer."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from fathom.networks.stack import Stack, truncated
from fathom.networks.tasks import task
from fathom.spec import Run

EXAMPLES = 64
BY_STEPS = (
    "diversity",
    "layer_sizes",
    "trajectory",
)  # look at one training at several of its steps


class ForwardPass(NamedTuple):
    """One forward pass: outputs, the stream after the stem and after every block (of a chain its
    first pre-activation twice), and every layer's input and output, where a model applies it
    twice the first."""

    outputs: Tensor
    stream: list[Tensor]
    layers: dict[int, tuple[Tensor, Tensor]]


def observe(nets: Stack, x: Tensor) -> ForwardPass:
    """What the networks of a stack do with inputs of shape (runs, examples, inputs)."""
    layers: dict[int, tuple[Tensor, Tensor]] = {}

    def watch(i: int, h: Tensor) -> Tensor:
        out = nets.apply(i, h)
        layers.setdefault(i, (h, out))
        return out

    outputs, units = nets.model.forward(watch, nets.branch, x)
    blocks = nets.model.blocks
    stem = entered(nets, layers, blocks[0]) if blocks else units[0]
    return ForwardPass(outputs, [stem, *units], layers)


def entered(nets: Stack, layers: dict[int, tuple[Tensor, Tensor]], first: int) -> Tensor:
    """The stream that the first block of a network, or of a stage of it, is given: what the layer
    before that block's first gives, and where places are added to it, both."""
    given = layers[first - 1][1]
    return given + layers[first - 2][1] if nets.model.layers[first - 1].role == "embed" else given


def examples(runs: Sequence[Run]) -> tuple[Tensor, Tensor]:
    """64 examples that no run trains on, and their targets, once for every run."""
    about = task(runs[0].task)
    rows = slice(len(about.x) - about.held_out, len(about.x) - about.held_out + EXAMPLES)
    x, y = about.x[rows], about.y[rows]
    return x.expand(len(runs), *x.shape), y.expand(len(runs), *y.shape)


def trainings(runs: Sequence[Run]) -> tuple[list[Run], list[int], list[int]]:
    """Runs that differ in how long they train, as fewer: each network once, trained for as
    long as any; all the numbers of steps; and for every run which of the networks is its own."""
    stops = sorted({run.optim.steps for run in runs})
    networks = {truncated(run).key: truncated(run, stops[-1]) for run in runs}
    places = {name: i for i, name in enumerate(networks)}
    return list(networks.values()), stops, [places[truncated(run).key] for run in runs]


def rms(part: Tensor) -> Tensor:
    """Root mean square over all but runs, one number per run."""
    return part.double().square().mean(tuple(range(1, part.ndim))).sqrt()
