"""What is read off a network: one step, coordinates, diversity, layer sizes, linearity."""

from collections.abc import Callable, Sequence

from fathom.measurement.coordinates import coordinates
from fathom.measurement.diversity import diversity
from fathom.measurement.layer_sizes import layer_sizes
from fathom.measurement.linearity import linearisation
from fathom.measurement.one_step import one_step
from fathom.spec import Refused, Run

# Bumped by hand when a change moves a measure's numbers.
NUMERICS = {"one_step": 1, "one_sample_step": 1, "coordinates": 1, "diversity": 1}
NUMERICS |= {"layer_sizes": 1, "linearisation": 1}
MEASURES: dict[str, Callable[[Sequence[Run]], list[dict[str, float]]]] = {
    "coordinates": coordinates,
    "diversity": diversity,
    "layer_sizes": layer_sizes,
    "linearisation": linearisation,
}


def measured(runs: Sequence[Run], measure: str) -> list[dict[str, float]]:
    """What a measure finds on runs of one shape, one dictionary per run; raises Refused for
    families that none of them is made for."""
    family = runs[0].net.family
    if family not in ("mlp", "resmlp"):
        raise Refused(
            f"family {family}: {measure} is measured on mlp and resmlp; give one of these"
        )
    return MEASURES[measure](runs) if measure in MEASURES else one_step(runs, measure)
