"""Feature diversity: how rough the stream is as a path over depth."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fathom.measurement.observe import examples, observe, rms, trainings
from fathom.networks.stack import stack
from fathom.spec import GAPS, Run
from fathom.training.train import learned

PLACES = (1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4)  # lambda of Definition 7.4: where gaps begin


def diversity(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How far apart streams are that lie a part epsilon of the depth from each other.

    Per run: slope, the exponent of the distance in epsilon after the run's steps (1/2 for a
    path as rough as can be, 1 for a smooth one), by least squares over epsilon = 1/depth,
    2/depth ... 1/16, and slope_init, the same before training; gap_4, gap_5 ..., the
    distance for epsilon 2^-4, 2^-5 ..., over the root of width, averaged over where it
    begins. Source: Tensor Programs VI, Definition 7.4 and Figures 17 to 19. Wants a
    depth that is a power of two from 32 to 2^11, and a network of one stage.
    """
    depth = runs[0].net.depth
    gaps = [2**-j for j in GAPS if 2**j <= depth]
    networks, stops, places = trainings(runs)
    (x, _), nets = examples(networks), stack(networks)
    with torch.no_grad():
        start = _distances(observe(nets, x).stream, depth, gaps)
    found = {}
    for steps, taught in zip(stops, learned(nets, stops), strict=True):
        with torch.no_grad():
            found[steps] = _distances(observe(taught, x).stream, depth, gaps)
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
