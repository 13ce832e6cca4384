"""What is read off a network: one step, sharpness, coordinates, diversity, layer sizes, linearity,
trajectories."""

from collections.abc import Callable, Sequence

from fathom.measurement.coordinates import coordinates
from fathom.measurement.diversity import diversity
from fathom.measurement.layer_sizes import layer_sizes
from fathom.measurement.linearity import linearisation
from fathom.measurement.one_step import one_step
from fathom.measurement.sharpness import sharpness
from fathom.measurement.sizes import sizes
from fathom.measurement.trajectory import trajectory
from fathom.spec import Run, check_measure

# Bumped by hand when a change moves a measure's numbers.
NUMERICS = {"one_step": 1, "one_sample_step": 1, "coordinates": 1, "diversity": 1}
NUMERICS |= {"layer_sizes": 1, "linearisation": 1, "sizes": 2, "trajectory": 2}
NUMERICS |= {"sharpness": 1}
# Measures of networks that are trained as in a sweep, in compiled kernels where there are any.
LEARNED = ("coordinates", "diversity", "linearisation", "sizes")
MEASURES: dict[str, Callable[[Sequence[Run]], list[dict[str, float]]]] = {
    "coordinates": coordinates,
    "diversity": diversity,
    "layer_sizes": layer_sizes,
    "linearisation": linearisation,
    "sharpness": sharpness,
    "sizes": sizes,
    "trajectory": trajectory,
}


def measured(runs: Sequence[Run], measure: str) -> list[dict[str, float]]:
    """What a measure finds on runs of one shape, one dictionary per run; raises Refused as
    `check_measure` does."""
    check_measure(runs, measure)
    return MEASURES[measure](runs) if measure in MEASURES else one_step(_whole(runs), measure)


def _whole(runs: Sequence[Run]) -> Sequence[Run]:
    """Runs as one step sees them: to first order a block that has learned nothing and its
    linearisation are one function."""
    if runs[0].net.family != "linearised":
        return runs
    whole = {"family": "resmlp"}
    return [run.model_copy(update={"net": run.net.model_copy(update=whole)}) for run in runs]
