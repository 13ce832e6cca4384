"""Of which networks a measure is taken: known before anything is computed."""

from collections.abc import Iterable

from fathom.spec.run import Run
from fathom.spec.words import DRAWN, EXAMPLES, FAMILIES, GAPS, Refused

# Families for which a measure is made; the others are for all.
MADE_FOR = {
    "coordinates": ("mlp", "resmlp", "lm", "cnn", "resconv", "vit"),
    "diversity": ("mlp", "resmlp", "lm", "cnn", "resconv", "vit"),
    "layer_sizes": ("mlp", "resmlp"),
    "linearisation": ("resmlp", "lm", "resconv", "vit"),
    "sharpness": ("mlp", "resmlp"),
    "trajectory": ("resmlp", "resconv"),
}
UNTRAINED = ("one_step", "one_sample_step", "sharpness")  # of which no run trains
FEW = 2  # examples of a task that theories solve whole
ONE_OUTPUT = ("unit", "pair", *DRAWN)
DEEP = tuple(2**j for j in GAPS[1:])  # depths of diversity


def check_measure(runs: Iterable[Run], measure: str, place: str = "") -> None:
    """Raises Refused where a measure cannot be taken of one of these runs; `place`, where one is
    given, begins the sentence."""
    seen = {(run.net, run.task, run.optim.batch): run for run in runs}
    for run in seen.values():
        why = _why_not(run, measure)
        if why is not None:
            raise Refused(f"{place}: {why}" if place else why)


def _why_not(run: Run, measure: str) -> str | None:
    """Why a measure cannot be taken of a run, or None."""
    net, task = run.net, run.task
    made_for = MADE_FOR.get(measure, FAMILIES)
    if net.family not in made_for:
        return (
            f"family {net.family}: {measure} is measured on {', '.join(made_for)}; give one of "
            "these, or measure sizes"
        )
    if task in DRAWN and measure not in UNTRAINED:
        return (
            f"task {task} has no examples to train on; measure {', '.join(UNTRAINED)} of it "
            "under probe"
        )
    if measure == "trajectory" and EXAMPLES[task] <= FEW and run.optim.batch != EXAMPLES[task]:
        return (
            f"batch {run.optim.batch}: trajectory is measured on all examples at once; of task "
            f"{task} give a batch of {EXAMPLES[task]}"
        )
    if measure == "sharpness" and task not in ONE_OUTPUT:
        return (
            f"task {task}: sharpness is that of one output; give a task with one, "
            f"{', '.join(ONE_OUTPUT)}"
        )
    stages = net.stages if net.family == "resconv" else 1
    if measure == "coordinates" and net.depth // stages < 2:
        inside = f" in {stages} stages" if stages > 1 else ""
        return (
            f"depth {net.depth}{inside}: coordinates are measured on two blocks or more"
            f"{' in a stage' if inside else ''}; give a depth of {2 * stages} at least"
        )
    if measure == "diversity" and stages > 1:
        return (
            f"stages {stages}: diversity compares a stream with itself at another depth, and "
            "stages differ in shape; give stages: 1"
        )
    if measure == "diversity" and net.depth not in DEEP:
        return f"depth {net.depth}: diversity is measured at depths {', '.join(map(str, DEEP))}"
    return None
