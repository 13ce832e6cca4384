"""The words that params.yaml may use, and the sentences about those it may not."""

import difflib
import math
import re
from collections.abc import Iterable

from pydantic import AfterValidator

FAMILIES = ("mlp", "resmlp", "linearised", "lm", "cnn", "resconv", "vit")
PHIS = ("linear", "relu", "abs", "tanh", "gelu", "erf", "softplus")
RULES = ("sp", "ntp", "mup", "ode", "depth_mup", "am_mup", "completep", "first_layer")
EXAMPLES = {  # that a task has to train on: a batch holds none of them twice
    "digits": 1509,
    "digits_noisy": 1509,
    "digits_random": 1509,
    "digits_sum": 20_000,
    "digits_mse": 1509,
    **{f"fashion{s}{kind}": 60_000 for s in (28, 14, 7) for kind in ("", "_noisy", "_random")},
    "text": 79_965,
    "unit": 1,
    "pair": 2,
}
SIDES = {  # tasks of images: pixels a side
    **{f"digits{kind}": 8 for kind in ("", "_noisy", "_random", "_mse")},
    **{f"fashion{s}{kind}": s for s in (28, 14, 7) for kind in ("", "_noisy", "_random")},
}
DRAWN = ("gaussian", "gaussian_rectified")  # as many as a batch asks for
TASKS = (*EXAMPLES, *DRAWN)
SOLVED = (*(name for name in TASKS if name.startswith("digits")), "unit")  # for limits
EQUATIONS = ("complete", "corrected", "printed", "uncentred")  # of the nonlinear limit
SMOOTH = ("linear", "tanh", "gelu")
WIDE = ("mup", "ode", "depth_mup", "completep")  # rules that scale width as mup does
GAPS = (4, 5, 6, 7, 8, 9, 10, 11)  # diversity's epsilon: 2^-4 ... 2^-11
_UPDATES = ("update_mean", "update_last", "update_max", "update_relative")
MEASURED: dict[str, tuple[str, ...]] = {
    "train": (
        *("loss_mean", "loss_early", "loss_second", "loss_third", "loss_fourth", "loss_late"),
        "loss_held_out",
    ),
    "one_step": _UPDATES,
    "one_sample_step": _UPDATES,
    "sharpness": ("sharpness",),
    "coordinates": (
        *("stream_init", "stream_move", "output_move", "hidden_init", "hidden_move"),
        *("weight_move", "rest", "decorrelation"),
    ),
    "diversity": ("slope", "slope_init", *(f"gap_{j}" for j in GAPS)),
    "sizes": (
        *("unit_size", "unit_move", "hidden_size", "hidden_move", "output_size", "output_move"),
    ),
    "linearisation": ("weight_share", "block_share", "remainder", "remainder_median"),
    "layer_sizes": (
        *("rms_input", "rms_quarter", "rms_half", "rms_three_quarters", "rms_last", "rms_output"),
        *("correlation", "kurtosis", "p_normal"),
    ),
    "trajectory": (
        *("loss_full", "loss_largest", "output_first", "output_last", "feature_input"),
        *("feature_quarter", "feature_half", "feature_three_quarters", "feature_last"),
        *("gradient_input", "gradient_quarter", "gradient_half", "gradient_three_quarters"),
        "gradient_last",
    ),
}
MEASURES = tuple(name for name in MEASURED if name != "train")
METRICS = tuple(dict.fromkeys(name for names in MEASURED.values() for name in names))
DERIVED = ("optima", "transfer", "common", "one_step", "viable", "hazards")
PREDICTIONS = ("constant", "inverse", "three_halves", "finite_depth", "all_paths", "fitted")
COLUMNS = (
    *("task", "family", "rules", "phi", "width", "depth", "block_depth", "order", "center"),
    *("norm", "gain", "init_gain", "train_ends", "base_width", "base_depth"),
    *("kind", "batch", "steps", "schedule", "warmup", "decay", "log2_lr_ends", "log2_lr", "seed"),
)
# A table has these only where one of its runs is not at the default.
LATER = (
    *("gamma_0", "momentum", "kernel", "padding", "stages", "patch", "placement", "parallel"),
    *("layer_scale", "affine", "bias", "dropout"),
)
OVER = ("log2_gain", "log2_gamma_0", "log2_decay", "log2_batch", "log2_memory")
SIZES = ("layers", *OVER)  # of a run, counted from its columns
KINK = "kink(s), for example kink(-0.5)"
ALPHA = "alpha(a, g), for example alpha(0.5, 0.25)"
INIT = "init(b, c), for example init(0.25, 0.25)"
WORDS: dict[str, tuple[str, ...]] = {
    "family": FAMILIES,
    "phi": (*PHIS, KINK),
    "rules": (*RULES, ALPHA, INIT),
    "task": TASKS,
    "order": ("post", "pre"),
    "norm": ("none", "layer", "batch"),
    "padding": ("zeros", "circular"),
    "placement": ("pre", "post", "none"),
    "kind": ("sgd", "adam"),
    "schedule": ("constant", "cosine"),
    "equations": EQUATIONS,
    "measure": MEASURES,
    "derive": DERIVED,
    "metric": METRICS,
    "by": (*COLUMNS, *LATER, *SIZES),
    "over": ("log2_lr", *OVER),
    "predictions": PREDICTIONS,
}
LARGEST = 10  # number in a word: powers of a depth that are larger leave the range of numbers
_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:/0*[1-9]\d*)?)\s*"
_WORD = re.compile(rf"(\w+)\({_NUMBER}(?:,{_NUMBER})?\)")


class Refused(ValueError):
    """Input that cannot be used: the message is one sentence for the person who gave it."""


LISTED = 40  # names that an error sentence lists at most


def nearest(word: object, allowed: Iterable[str]) -> str:
    """The part of an error sentence that lists what is allowed, with the nearest match; of more
    than LISTED names the four nearest."""
    names = list(allowed)
    if not names:
        return "does not exist, and there are none yet"
    close = difflib.get_close_matches(str(word), names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    if len(names) > LISTED:
        some = difflib.get_close_matches(str(word), names, n=4, cutoff=0)
        return f"is not one of {len(names)}, of which these are nearest: {', '.join(some)}{hint}"
    return f"is not one of {', '.join(names)}{hint}"


def one_of(names: tuple[str, ...]) -> AfterValidator:
    """A check that a word is one of these."""

    def check(word: str) -> str:
        if word not in names:
            raise ValueError(nearest(word, names))
        return word

    return AfterValidator(check)


def numbers(word: str, name: str, count: int) -> tuple[float, ...] | None:
    """The numbers of a word such as alpha(0.5, .25) or alpha(1/2, 1/4), which has this name and
    so many of them; None for any other word."""
    said = _WORD.fullmatch(word.strip())
    if said is None or said[1] != name:
        return None
    parts = [part.partition("/") for part in said.groups()[1:] if part]
    found = tuple(float(top) / float(bottom or 1) + 0.0 for top, _, bottom in parts)  # -0 is 0
    return found if len(found) == count else None


def _with_numbers(word: str, name: str, count: int, plain: tuple[str, ...], form: str) -> str:
    """One of the plain words, or the one spelling of a name with numbers, each to six digits; a
    ValueError for anything else."""
    found = numbers(word, name, count)
    if found is None and word not in plain:
        if word.startswith(f"{name}("):
            raise ValueError(f"is not of the form {form}; inside a list write it in quotes")
        raise ValueError(nearest(word, (*plain, form)))
    if found is not None and max(map(abs, found)) > LARGEST:
        raise ValueError(f"has a number that is not within -{LARGEST} and {LARGEST}")
    return word if found is None else f"{name}({', '.join(f'{number:g}' for number in found)})"


def known_rules(word: str) -> str:
    """The name of a parametrization, alpha(a, g) and init(b, c) included, or a ValueError."""
    if word.strip().startswith("init("):
        return _with_numbers(word, "init", 2, RULES, INIT)
    return _with_numbers(word, "alpha", 2, (*RULES, INIT), ALPHA)


def known_limit(word: str) -> str:
    """The name of a parametrization that has a limit of infinite width, or a ValueError."""
    return _with_numbers(word, "alpha", 2, WIDE, ALPHA)


def known_phi(word: str) -> str:
    """The name of a nonlinearity, kink(s) included, or a ValueError."""
    return _with_numbers(word, "kink", 1, PHIS, KINK)


def enough_examples(batch: int, task: str) -> None:
    """Raises a ValueError where a batch would hold an example of its task twice."""
    most = EXAMPLES.get(task, batch)
    if batch > most:
        raise ValueError(
            f"batch {batch} is larger than task {task}, which has {most} to train on; give a "
            f"batch of at most {most}"
        )


def known_column(word: str) -> str:
    """A column of a table of runs, or a ValueError that says which there are."""
    if word not in WORDS["by"]:
        raise ValueError(nearest(word, WORDS["by"]))
    return word


def whole_quarters(log2_lr: float) -> float:
    """A rate's base-2 logarithm in quarters, or a ValueError that says what it is."""
    if not math.isfinite(log2_lr) or log2_lr * 4 != int(log2_lr * 4):
        raise ValueError(
            "is not a multiple of 1/4: log2_lr is the base-2 logarithm of the rate "
            "(a rate of 0.001 is about -10)"
        )
    return log2_lr + 0.0  # -0 is 0
