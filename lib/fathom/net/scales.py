"""Sizes along depth: the coordinate check, how rough the stream is, how large its layers are.

The first two train a network for its run's steps and look at it before and after, on 64
examples it has never seen; the last looks at what its run's last step sees. Runs that differ
only in their steps are one training, which the last two look at as it goes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from fathom.net import eager
from fathom.net.data import HELD_OUT, task
from fathom.net.layers import center
from fathom.net.stack import Stack, course, losses, stack
from fathom.net.train import learned
from fathom.phi import phi
from fathom.spec import GAPS, Refused, Run

EXAMPLES = 64
ALONG = ("diversity", "layer_sizes")  # look at one training at several of its steps
QUARTERS = {"input": 0.0, "quarter": 1 / 4, "half": 1 / 2, "three_quarters": 3 / 4, "last": 1.0}
PLACES = (1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4)  # lambda of Definition 7.4: where gaps begin


class Seen(NamedTuple):
    """One forward pass: outputs, the stream after the stem and after every block, and every
    layer's input and output."""

    outputs: Tensor
    stream: list[Tensor]
    layers: dict[int, tuple[Tensor, Tensor]]


def seen(nets: Stack, x: Tensor) -> Seen:
    """What the networks of a stack do with inputs of shape (runs, examples, inputs)."""
    layers: dict[int, tuple[Tensor, Tensor]] = {}

    def watch(i: int, h: Tensor) -> Tensor:
        out = nets.apply(i, h)
        layers[i] = (h, out)
        return out

    outputs, units = nets.model.forward(watch, nets.branch, x)
    return Seen(outputs, [layers[0][1], *units], layers)


def examples(runs: Sequence[Run]) -> tuple[Tensor, Tensor]:
    """64 examples that no run trains on, and their targets, once for every run."""
    about = task(runs[0].task)
    rows = slice(len(about.x) - HELD_OUT, len(about.x) - HELD_OUT + EXAMPLES)
    x, y = about.x[rows], about.y[rows]
    return x.expand(len(runs), *x.shape), y.expand(len(runs), *y.shape)


def along(runs: Sequence[Run]) -> tuple[list[Run], list[int], list[int]]:
    """Runs that differ in how long they train, as fewer: each network once, trained for as
    long as any; all the numbers of steps; and for every run which of the networks is its own."""
    stops = sorted({run.optim.steps for run in runs})
    networks = {course(run).key: course(run, stops[-1]) for run in runs}
    places = {name: i for i, name in enumerate(networks)}
    return list(networks.values()), stops, [places[course(run).key] for run in runs]


def rms(part: Tensor) -> Tensor:
    """Root mean square over examples and width, one number per run."""
    return part.double().square().mean((1, 2)).sqrt()


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
        before, after = seen(nets, x), seen(taught, x)
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
    here, (block, first, second) = seen(nets, x), _middle(nets)
    wanted = [here.layers[first][1], here.layers[second][1], *here.stream[block : block + 2]]
    grads = torch.autograd.grad(losses(here.outputs, y).sum(), wanted)
    for weight in nets.weights:
        weight.requires_grad_(False)
    rows = [grad.double().flatten(1) for grad in grads]
    inside = torch.cosine_similarity(rows[0], rows[1], dim=1)
    return inside / torch.cosine_similarity(rows[2], rows[3], dim=1)


def diversity(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How far apart streams are that lie a part epsilon of the depth from each other.

    Per run: slope, the exponent of the distance in epsilon after the run's steps (1/2 for a
    path as rough as can be, 1 for a smooth one), by least squares over epsilon = 1/depth,
    2/depth ... 1/16, and slope_init, the same before training; gap_4, gap_5 ..., the
    distance for epsilon 2^-4, 2^-5 ..., over the root of width, averaged over where it
    begins. Source: Tensor Programs VI, Definition 7.4 and Figures 17 to 19. Raises Refused
    unless depth is a power of two from 32 to 2^11.
    """
    depth = runs[0].net.depth
    gaps = [2**-j for j in GAPS if 2**j <= depth]
    if depth not in [2**j for j in GAPS[1:]]:
        raise Refused(f"depth {depth}: diversity is measured at depths 32, 64 ... {2 ** GAPS[-1]}")
    networks, stops, places = along(runs)
    (x, _), nets = examples(networks), stack(networks)
    with torch.no_grad():
        start = _distances(seen(nets, x).stream, depth, gaps)
    found = {}
    for steps, taught in zip(stops, learned(nets, stops), strict=True):
        with torch.no_grad():
            found[steps] = _distances(seen(taught, x).stream, depth, gaps)
    empty = dict.fromkeys((f"gap_{j}" for j in GAPS), float("nan"))
    rows = []
    for run, place in zip(runs, places, strict=True):
        one = found[run.optim.steps][place]
        slopes = {"slope": _slope(gaps, one), "slope_init": _slope(gaps, start[place])}
        named = {f"gap_{j}": float(d) for j, d in zip(GAPS, one, strict=False)}
        rows.append({**slopes, **empty, **named})
    return rows


def _distances(stream: list[Tensor], depth: int, gaps: list[float]) -> np.ndarray:
    """The distance for every run and gap, shape (runs, gaps)."""
    columns = []
    for gap in gaps:
        ends = [(round(place * depth), round((place + gap) * depth)) for place in PLACES]
        columns.append(torch.stack([rms(stream[b] - stream[a]) for a, b in ends]).mean(0))
    return torch.stack(columns, 1).numpy()


def _slope(gaps: list[float], distances: np.ndarray) -> float:
    return float(np.polyfit(np.log2(gaps), np.log2(distances), 1)[0])


def layer_sizes(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How large layers are when a run's last step begins, on that step's own batch.

    Per run: the root mean square over batch and width of the first layer (rms_input), of the
    stream after a quarter, half, three quarters and all of the blocks (rms_last), and of the
    output. Of the batch's first example, over the neurons of the last layer: its correlation
    with the last layer at the first step (not centred), its excess kurtosis, and the p-value
    of D'Agostino and Pearson's test that it is normal. Source: Tensor Programs VI, Figure 8.

    One example a step leaves nothing to the compiled loops but copying: it runs under autograd.
    """
    networks, stops, places = along(runs)
    session, done, found = eager.Session(stack(networks), "cpu"), 0, {}
    start = _last(_upon(session, 0))
    for steps in stops:
        if steps - 1 > done:
            session.learn(done, steps - 1)
        done, found[steps] = steps - 1, _sizes(_upon(session, steps - 1), start)
    return [found[run.optim.steps][place] for run, place in zip(runs, places, strict=True)]


@torch.no_grad()
def _upon(session: eager.Session, step: int) -> Seen:
    return seen(session.nets, session.task.x[session.order[step]])


def _last(now: Seen) -> Tensor:
    return now.stream[-1][:, 0].double()


def _sizes(now: Seen, start: Tensor) -> list[dict[str, float]]:
    depth, last = len(now.stream) - 1, _last(now)
    layers = {name: now.stream[int(place * depth)] for name, place in QUARTERS.items()}
    sizes = {f"rms_{name}": rms(part) for name, part in (layers | {"output": now.outputs}).items()}
    found = {
        **sizes,
        "correlation": torch.cosine_similarity(start, last, dim=1),
        "kurtosis": stats.kurtosis(last.numpy(), axis=1),
        "p_normal": stats.normaltest(last.numpy(), axis=1).pvalue,
    }
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(last))]
