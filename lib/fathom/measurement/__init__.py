"""What is read off a network: one step, sharpness, coordinates, diversity, layer sizes, linearity,
trajectories."""

from collections.abc import Callable, Iterable, Sequence

from fathom.measurement.coordinates import coordinates
from fathom.measurement.diversity import diversity
from fathom.measurement.layer_sizes import layer_sizes
from fathom.measurement.linearity import linearisation
from fathom.measurement.one_step import one_step
from fathom.measurement.sharpness import sharpness
from fathom.measurement.sizes import sizes
from fathom.measurement.trajectory import trajectory
from fathom.spec import FAMILIES, Refused, Run

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
# Families for which a measure is made; the others are for all.
FOR = {
    "coordinates": ("mlp", "resmlp", "lm", "cnn", "resconv", "vit"),
    "diversity": ("mlp", "resmlp", "lm", "cnn", "resconv", "vit"),
    "layer_sizes": ("mlp", "resmlp"),
    "linearisation": ("resmlp", "lm", "resconv", "vit"),
    "sharpness": ("mlp", "resmlp"),
    "trajectory": ("resmlp", "resconv"),
}


def check(runs: Iterable[Run], measure: str) -> None:
    """Raises Refused where a measure is not made for the family of one of these runs."""
    made_for = FOR.get(measure, FAMILIES)
    for family in dict.fromkeys(run.net.family for run in runs):
        if family not in made_for:
            raise Refused(
                f"family {family}: {measure} is measured on {', '.join(made_for)}; give one of "
                "these, or measure sizes"
            )


def measured(runs: Sequence[Run], measure: str) -> list[dict[str, float]]:
    """What a measure finds on runs of one shape, one dictionary per run; raises Refused for
    families that none of them is made for."""
    check(runs, measure)
    return MEASURES[measure](runs) if measure in MEASURES else one_step(_whole(runs), measure)


def _whole(runs: Sequence[Run]) -> Sequence[Run]:
    """Runs as one step sees them: to first order a block that has learned nothing and its
    linearisation are one function."""
    if runs[0].net.family != "linearised":
        return runs
    whole = {"family": "resmlp"}
    return [run.model_copy(update={"net": run.net.model_copy(update=whole)}) for run in runs]
