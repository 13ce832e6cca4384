"""The words that params.yaml may use, and the sentences about those it may not."""

import difflib
import math
import re
from collections.abc import Iterable

from pydantic import AfterValidator

FAMILIES = ("mlp", "resmlp", "linearised", "lm")
PHIS = ("linear", "relu", "abs", "tanh", "gelu")
RULES = ("sp", "ntp", "mup", "ode", "depth_mup", "am_mup", "completep", "first_layer")
TASKS = (
    "digits",
    "digits_noisy",
    "digits_random",
    "digits_sum",
    "digits_mse",
    *(f"fashion{side}{kind}" for side in (28, 14, 7) for kind in ("", "_noisy", "_random")),
    "text",
    "gaussian",
    "unit",
)
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
    "coordinates": (
        *("stream_init", "stream_move", "output_move", "hidden_init", "hidden_move"),
        *("weight_move", "rest", "decorrelation"),
    ),
    "diversity": ("slope", "slope_init", *(f"gap_{j}" for j in GAPS)),
    "linearisation": ("weight_share", "block_share", "remainder", "remainder_median"),
    "layer_sizes": (
        *("rms_input", "rms_quarter", "rms_half", "rms_three_quarters", "rms_last", "rms_output"),
        *("correlation", "kurtosis", "p_normal"),
    ),
}
MEASURES = tuple(name for name in MEASURED if name != "train")
METRICS = tuple(dict.fromkeys(name for names in MEASURED.values() for name in names))
DERIVED = ("optima", "transfer", "one_step", "viable")
PREDICTIONS = ("constant", "inverse", "three_halves", "finite_depth")
COLUMNS = (
    *("task", "family", "rules", "phi", "width", "depth", "block_depth", "order", "center"),
    *("norm", "gain", "init_gain", "train_ends", "base_width", "base_depth"),
    *("kind", "batch", "steps", "schedule", "warmup", "decay", "log2_lr_ends", "log2_lr", "seed"),
)
SIZES = ("layers", "log2_gain")  # of a run, counted from its columns
WORDS: dict[str, tuple[str, ...]] = {
    "family": FAMILIES,
    "phi": (*PHIS, "kink(s)"),
    "rules": (*RULES, "alpha(a, g)"),
    "task": TASKS,
    "order": ("post", "pre"),
    "norm": ("none", "layer"),
    "kind": ("sgd", "adam"),
    "schedule": ("constant", "cosine"),
    "equations": EQUATIONS,
    "measure": MEASURES,
    "derive": DERIVED,
    "metric": METRICS,
    "by": (*COLUMNS, *SIZES),
    "over": ("log2_lr", "log2_gain"),
    "predictions": PREDICTIONS,
}
KINK = re.compile(r"kink\((-?\d+(?:\.\d+)?)\)")
ALPHA = re.compile(r"alpha\((-?\d+(?:\.\d+)?), ?(-?\d+(?:\.\d+)?)\)")


class Refused(ValueError):
    """Input that cannot be used: the message is one sentence for the person who gave it."""


def nearest(word: object, allowed: Iterable[str]) -> str:
    """The part of an error sentence that lists what is allowed, with the nearest match."""
    names = list(allowed)
    if not names:
        return "is not there, and nothing else is"
    close = difflib.get_close_matches(str(word), names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"is not one of {', '.join(names)}{hint}"


def one_of(names: tuple[str, ...]) -> AfterValidator:
    """A check that a word is one of these."""

    def check(word: str) -> str:
        if word not in names:
            raise ValueError(nearest(word, names))
        return word

    return AfterValidator(check)


def known_rules(word: str) -> str:
    """The name of a parametrization, alpha(a, g) included, or a ValueError."""
    general = ALPHA.fullmatch(word)
    if general:
        return f"alpha({float(general[1]):g}, {float(general[2]):g})"
    if word not in RULES:
        raise ValueError(nearest(word, WORDS["rules"]))
    return word


def known_limit(word: str) -> str:
    """The name of a parametrization that has a limit of infinite width, or a ValueError."""
    if not ALPHA.fullmatch(word) and word not in WIDE:
        raise ValueError(nearest(word, (*WIDE, "alpha(a, g)")))
    return known_rules(word)


def known_phi(word: str) -> str:
    """The name of a nonlinearity, kink(s) included, or a ValueError."""
    kink = KINK.fullmatch(word)
    if kink:
        return f"kink({float(kink[1]):g})"
    if word not in PHIS:
        raise ValueError(nearest(word, WORDS["phi"]))
    return word


def known_column(word: str) -> str:
    """A column of a table of runs, or a ValueError that says which there are."""
    if word not in (*COLUMNS, *SIZES):
        raise ValueError(nearest(word, (*COLUMNS, *SIZES)))
    return word


def whole_halves(log2_lr: float) -> float:
    """A rate's base-2 logarithm in halves, or a ValueError that says what it is."""
    if not math.isfinite(log2_lr) or log2_lr * 2 != int(log2_lr * 2):
        raise ValueError(
            "is not a multiple of 1/2: log2_lr is the base-2 logarithm of the rate "
            "(a rate of 0.001 is about -10)"
        )
    return log2_lr
