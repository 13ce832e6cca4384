"""What one training is, and how an entry of params.yaml becomes a list of trainings.

A `Run` is the whole identity of a training: nothing else but the code may influence
its numbers. The words that params.yaml may use, and every sentence about a word it
may not use, live here.
"""

import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

FAMILIES = ("mlp", "resmlp")
PHIS = ("linear", "relu", "abs", "tanh")
RULES = ("sp", "ntp", "mup", "ode", "depth_mup", "am_mup")
TASKS = (
    "digits",
    "digits_noisy",
    "digits_random",
    "digits_sum",
    "digits_mse",
    "gaussian",
)
MEASURES = ("one_step", "one_sample_step")
DERIVED = ("optima", "transfer", "one_step")
PREDICTIONS = ("constant", "inverse", "three_halves", "finite_depth")
METRICS = ("loss_mean", "loss_early", "loss_late", "loss_held_out")
METRICS += ("update_mean", "update_last", "update_max", "update_relative")
ALPHA = re.compile(r"alpha\((-?\d+(?:\.\d+)?), ?(-?\d+(?:\.\d+)?)\)")


class Refused(ValueError):
    """Input that cannot be used: the message is one sentence for the person who gave it."""


def nearest(word: object, allowed: Iterable[str]) -> str:
    """The part of an error sentence that lists what is allowed, with the nearest match."""
    names = list(allowed)
    close = difflib.get_close_matches(str(word), names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"is not one of {', '.join(names)}{hint}"


def _one_of(names: tuple[str, ...]) -> AfterValidator:
    def check(word: str) -> str:
        if word not in names:
            raise ValueError(nearest(word, names))
        return word

    return AfterValidator(check)


def _rules(word: str) -> str:
    if word not in RULES and not ALPHA.fullmatch(word):
        raise ValueError(nearest(word, [*RULES, "alpha(a, g)"]))
    return word


def _column(word: str) -> str:
    if word not in COLUMNS:
        raise ValueError(nearest(word, COLUMNS))
    return word


def _halves(log2_lr: float) -> float:
    if log2_lr * 2 != int(log2_lr * 2):
        raise ValueError(
            "is not a multiple of 1/2: log2_lr is the base-2 logarithm of the rate "
            "(a rate of 0.001 is about -10)"
        )
    return log2_lr


Count = Annotated[int, Field(ge=1, description="a whole number, at least 1")]
Positive = Annotated[float, Field(gt=0, description="a number above 0")]


class Part(BaseModel):
    """A frozen group of settings; unknown keys and loose types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Net(Part):
    """One architecture at one size.

    `depth` counts residual blocks (the papers' L); for a plain chain, all matrices before
    the read-out, the input matrix included, so that it equals the effective depth.
    """

    family: Annotated[str, _one_of(FAMILIES)]
    width: Count
    depth: Count
    block_depth: Annotated[int, Field(ge=1, le=2, description="1 or 2 matrices in a block")] = 1
    phi: Annotated[str, _one_of(PHIS)] = "relu"
    order: Annotated[str, _one_of(("post", "pre"))] = "post"
    center: Annotated[bool, Field(description="true or false")] = False
    norm: Annotated[str, _one_of(("none", "layer"))] = "none"
    gain: Positive = 1.0
    init_gain: Positive = 1.0
    train_ends: Annotated[bool, Field(description="true or false")] = True

    @model_validator(mode="after")
    def _chain_has_no_branch(self) -> "Net":
        plain = Net.model_construct(family="mlp", width=1, depth=1)
        for name in ("block_depth", "order", "center", "norm", "gain"):
            if self.family == "mlp" and getattr(self, name) != getattr(plain, name):
                raise ValueError(f"{name} is a setting of residual branches; family mlp has none")
        return self


class Base(Part):
    """The width and depth at which all parametrizations coincide."""

    width: Count
    depth: Count


class Optim(Part):
    """The optimizer: `log2_lr` is the base-2 logarithm of the rate at base size."""

    kind: Annotated[str, _one_of(("sgd", "adam"))]
    log2_lr: Annotated[
        float,
        Field(description="the base-2 logarithm of the rate, in halves"),
        AfterValidator(_halves),
    ]
    batch: Count
    steps: Count


class Run(Part):
    """One training. `seed` fixes initial weights and batches for all rates, rules and depths."""

    net: Net
    rules: Annotated[str, AfterValidator(_rules)]
    base: Base
    optim: Optim
    task: Annotated[str, _one_of(TASKS)]
    seed: Annotated[int, Field(ge=0, description="a whole number, at least 0")]

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of identity; a field left at its default does not count,
        so that a field added later leaves every old key as it was."""
        said = json.dumps(self.model_dump(exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def row(self) -> dict[str, Any]:
        """The run as columns of a table: the fields' names, with base_width and base_depth."""
        base = {f"base_{name}": value for name, value in self.base.model_dump().items()}
        ends = {"rules": self.rules, "task": self.task, "seed": self.seed}
        order = {**self.net.model_dump(), **base, **self.optim.model_dump(), **ends}
        return {name: order[name] for name in COLUMNS}


class Probe(Part):
    """A probe entry: what is measured, and the grids of runs it is measured on."""

    measure: Annotated[str, _one_of(MEASURES)]
    runs: Annotated[Any, Field(description="a grid, or a list of grids")]


class Law(Part):
    """A law entry: the table it reads and what it derives from it, cell by cell of `by`."""

    reads: Annotated[str, Field(description="a table, such as sweep/tp6_resmlp")]
    derive: Annotated[str, _one_of(DERIVED)]
    by: Annotated[list[Annotated[str, AfterValidator(_column)]], Field(min_length=1)]
    metric: Annotated[str, _one_of(METRICS)]
    anchor: Annotated[dict[str, Any], Field(description="columns and values")] = {}
    predictions: list[Annotated[str, _one_of(PREDICTIONS)]] = ["constant"]

    def options(self) -> dict[str, Any]:
        """What the function that `derive` names is called with, besides the table."""
        carried = {"anchor": self.anchor, "predictions": self.predictions}
        return {"by": self.by, "metric": self.metric, **(carried if self.anchor else {})}


COLUMNS = (
    *("task", "family", "rules", "phi", "width", "depth", "block_depth", "order", "center"),
    *("norm", "gain", "init_gain", "train_ends", "base_width", "base_depth"),
    *("kind", "batch", "steps", "log2_lr", "seed"),
)
P = TypeVar("P", bound=Part)
PARTS: dict[str, type[Part]] = {"net": Net, "base": Base, "optim": Optim}


def grid(entry: object, place: str = "entry") -> list[Run]:
    """Every run of an entry: scalars are fixed, lists and {range: [first, last, step]} are
    swept, a list of grids is their union. `place` (such as "params.yaml sweep.name") begins
    every error sentence. Raises Refused for anything that is not exactly understood."""
    grids = entry if isinstance(entry, list) else [entry]
    if not grids:
        raise Refused(f"{place}: an empty list has no runs; give at least one grid")
    runs: dict[str, str] = {}
    found: list[Run] = []
    for number, one in enumerate(grids):
        where = f"{place}[{number}]" if isinstance(entry, list) else place
        for run in _expand(one, where):
            if run.key in runs:
                raise Refused(
                    f"{where}: the run {_short(run)} is already named in {runs[run.key]}; "
                    "name each run once"
                )
            runs[run.key] = where
            found.append(run)
    return found


def settings(part: type[P], entry: object, place: str) -> P:
    """An entry that is not a grid (Probe, Law), checked; raises Refused naming the place."""
    said = dict(_mapping(entry, place, part.model_fields))
    for name, field in part.model_fields.items():
        if field.is_required() and name not in said:
            raise Refused(f"{place}: {name} is missing; give {', '.join(part.model_fields)}")
    try:
        return part.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(f"{place}.{where}: {first['input']!r} {_why(error)}") from None


def _short(run: Run) -> str:
    net, optim = run.net, run.optim
    return (
        f"({net.family}, {run.rules}, {net.phi}, width {net.width}, depth {net.depth}, "
        f"log2_lr {optim.log2_lr:g}, {run.task}, seed {run.seed})"
    )


def _mapping(said: object, place: str, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(said, Mapping):
        raise Refused(f"{place}: found {said!r}; give a mapping with {', '.join(known)}")
    for key in said:
        if key not in known:
            hint = nearest(key, known)
            if str(key) in ("lr", "rate", "learning_rate", "eta") and "log2_lr" in known:
                hint = "is not a key here; give log2_lr, the base-2 logarithm of the rate"
            raise Refused(f"{place}.{key}: {key} {hint}")
    return said


def _expand(one: object, place: str) -> list[Run]:
    said = _mapping(one, place, Run.model_fields)
    axes: dict[tuple[str, ...], list[Any]] = {}
    for key, value in said.items():
        if key not in PARTS:
            axes[(key,)] = _values(value, f"{place}.{key}", Run, key)
            continue
        inner = _mapping(value, f"{place}.{key}", PARTS[key].model_fields)
        for name, choice in inner.items():
            axes[(key, name)] = _values(choice, f"{place}.{key}.{name}", PARTS[key], name)
    for key in Run.model_fields:
        if key not in said:
            raise Refused(f"{place}: {key} is missing; give {', '.join(Run.model_fields)}")
        for name, field in (PARTS[key].model_fields if key in PARTS else {}).items():
            if field.is_required() and (key, name) not in axes:
                raise Refused(f"{place}.{key}: {name} is missing; {_allowed(PARTS[key], name)}")
    runs = []
    for choice in itertools.product(*axes.values()):
        row: dict[str, Any] = {key: {} for key in PARTS}
        for path, value in zip(axes, choice, strict=True):
            if len(path) == 1:
                row[path[0]] = value
            else:
                row[path[0]][path[1]] = value
        try:
            runs.append(Run.model_validate(row))
        except ValidationError as error:
            raise Refused(f"{place}: {_why(error)}") from None
    return runs


def _values(said: object, place: str, part: type[Part], name: str) -> list[Any]:
    """The list of values that one key of an entry stands for, each of them checked."""
    values = [said]
    if isinstance(said, Mapping):
        values = _range(said, place)
    elif isinstance(said, list):
        values = said
        if not values:
            raise Refused(f"{place}: an empty list leaves nothing to run; {_allowed(part, name)}")
    info = part.model_fields[name]
    check: TypeAdapter[Any] = TypeAdapter(_annotated(info))
    checked = []
    for value in values:
        try:
            checked.append(check.validate_python(value, strict=True))
        except ValidationError as error:
            if error.errors()[0]["type"] == "value_error":
                raise Refused(f"{place}: {value!r} {_why(error)}") from None
            raise Refused(f"{place}: {value!r} is not allowed; {_allowed(part, name)}") from None
    return checked


def _annotated(info: FieldInfo) -> Any:
    """A field's type with its constraints, for checking a value on its own."""
    plain: Any = info.annotation
    return Annotated[plain, *info.metadata] if info.metadata else plain


def _why(error: ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def _allowed(part: type[Part], name: str) -> str:
    info = part.model_fields[name]
    if info.description:
        return f"{name} is {info.description}"
    if name == "rules":
        return f"rules is one of {', '.join(RULES)}, alpha(a, g)"
    words = {"family": FAMILIES, "phi": PHIS, "task": TASKS, "kind": ("sgd", "adam")}
    words |= {"order": ("post", "pre"), "norm": ("none", "layer")}
    return f"{name} is one of {', '.join(words[name])}"


def _range(said: Mapping[str, Any], place: str) -> list[float]:
    given: Any = said.get("range")
    ends = given if isinstance(given, list) and set(said) == {"range"} else []
    if len(ends) not in (2, 3) or any(type(end) not in (int, float) for end in ends):
        raise Refused(f"{place}: found {dict(said)!r}; a range is {{range: [first, last, step]}}")
    first, last, step = (*ends, 1)[:3]
    count = (last - first) / step + 1 if step > 0 else 0
    if count < 1 or count != int(count):
        raise Refused(
            f"{place}: the range {ends!r} does not go from its first to its last value "
            "in whole steps; give [first, last, step] with step above 0"
        )
    return [first + i * step for i in range(int(count))]
