"""What one training is, and the settings of the other engines, as frozen types."""

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from fathom.spec.net import Count, Net, Part, Positive
from fathom.spec.words import (
    COLUMNS,
    DERIVED,
    EQUATIONS,
    LATER,
    MEASURES,
    METRICS,
    OVER,
    PREDICTIONS,
    SIDES,
    SMOOTH,
    SOLVED,
    TASKS,
    enough_examples,
    known_column,
    known_limit,
    known_rules,
    nearest,
    one_of,
    whole_quarters,
)

LARGEST = 8  # GiB that the limit of one network may take


class Base(Part):
    """The width and depth at which all parametrizations coincide."""

    width: Count
    depth: Count


_LOG2 = Field(
    ge=-120, le=120, description="the base-2 logarithm of the rate, in quarters, -120 to 120"
)
Rate = Annotated[float, _LOG2, AfterValidator(whole_quarters)]


class Optim(Part):
    """The optimizer: `log2_lr` is the base-2 logarithm of the rate at base size.

    Where `log2_lr_ends` is given, stem and read-out keep that rate. The rate rises over
    `warmup` steps, then stays (constant) or falls to 0 at the last step (cosine). `decay`
    takes the share rate x decay off a weight in each step, before it and beside it, as AdamW does;
    without momentum that is SGD with an L2 penalty. `momentum` is SGD's: a step goes along the
    gradient plus that share of what the step before went along.
    """

    kind: Annotated[str, one_of(("sgd", "adam"))]
    log2_lr: Rate
    batch: Count
    steps: Count
    schedule: Annotated[str, one_of(("constant", "cosine"))] = "constant"
    warmup: Annotated[int, Field(ge=0, description="a whole number of steps, at least 0")] = 0
    decay: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="a finite number, at least 0")
    ] = 0.0
    log2_lr_ends: Annotated[Rate | None, Field(description=_LOG2.description)] = None
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="a share of at least 0 and below 1")
    ] = 0.0

    @model_validator(mode="after")
    def _fits_together(self) -> "Optim":
        if self.warmup >= self.steps:
            raise ValueError(
                f"warmup {self.warmup} has to be below steps {self.steps}; give fewer, or "
                "more steps"
            )
        if self.momentum and self.kind != "sgd":
            raise ValueError(
                f"momentum {self.momentum:g} is for kind sgd, as adam has its own; give 0, or sgd"
            )
        return self

    @property
    def plain(self) -> bool:
        """Whether the rate is constant and weights do not decay."""
        return (self.schedule, self.warmup, self.decay) == ("constant", 0, 0.0)


DEFAULTS = {name: (Net.model_fields | Optim.model_fields)[name].default for name in LATER}


@lru_cache(maxsize=2**16, typed=True)  # runs of a grid share their parts
def _json(value: Any) -> str:
    """A part of a run, or a plain value, without what is at its default."""
    said = value.model_dump(exclude_defaults=True) if isinstance(value, Part) else value
    return json.dumps(said, sort_keys=True)


class Run(Part):
    """One training. `seed` fixes initial weights and batches for all rates, rules and depths."""

    net: Net
    rules: Annotated[str, AfterValidator(known_rules)]
    base: Base
    optim: Optim
    task: Annotated[str, one_of(TASKS)]
    seed: Annotated[int, Field(ge=0, description="a whole number, at least 0")]

    @model_validator(mode="after")
    def _text_is_for_language_models(self) -> "Run":
        if (self.task == "text") != (self.net.family == "lm"):
            raise ValueError(
                f"task {self.task} is not for family {self.net.family}; text and lm go together"
            )
        return self

    @model_validator(mode="after")
    def _has_examples_for_a_batch(self) -> "Run":
        enough_examples(self.optim.batch, self.task)
        if self.net.norm == "batch" and self.optim.batch < 2:
            raise ValueError("norm batch has nothing to average in a batch of 1; give 2 or more")
        return self

    @model_validator(mode="after")
    def _sees_its_images(self) -> "Run":
        self.net.fits(SIDES.get(self.task), self.task)
        return self

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of identity; a field left at its default does not count,
        so that a field added later leaves every old key as it was."""
        said = {
            name: _json(value)
            for name, field in sorted(type(self).model_fields.items())
            if (value := getattr(self, name)) != field.default
        }
        whole = ", ".join(f'"{name}": {value}' for name, value in said.items())
        return hashlib.sha256(f"{{{whole}}}".encode()).hexdigest()[:12]

    def row(self) -> dict[str, Any]:
        """The run as columns of a table: the fields' names, with base_width and base_depth; of
        the later ones only those that are not at their default."""
        base = {f"base_{name}": value for name, value in self.base.model_dump().items()}
        ends = {"rules": self.rules, "task": self.task, "seed": self.seed}
        order = {**self.net.model_dump(), **base, **self.optim.model_dump(), **ends}
        later = {name: order[name] for name in LATER if order[name] != DEFAULTS[name]}
        return {name: order[name] for name in COLUMNS} | later


class Limit(Part):
    """The infinite-width limit of a residual network under SGD at one depth: U and V are
    frozen, each step sees one batch of a task, and base width and depth are 1.

    The fields are those of a `Run`: a seed stands for the order of its examples. A smooth phi
    is solved by `equations`, which differ in the terms they keep; a linear one needs no choice.
    """

    rules: Annotated[str, AfterValidator(known_limit)]
    depth: Count
    phi: Annotated[str, one_of(SMOOTH)] = "linear"
    equations: Annotated[str, one_of(EQUATIONS)] | None = None
    gain: Positive = 1.0
    log2_lr: Rate
    batch: Count = 1
    steps: Count
    task: Annotated[str, one_of(SOLVED)]
    seed: Annotated[int, Field(ge=0, description="a whole number, at least 0")]

    @model_validator(mode="after")
    def _fits_into_memory(self) -> "Limit":
        enough_examples(self.batch, self.task)
        gib = 32 * (self.depth * self.steps * self.batch) ** 2 / 2**30
        if gib > LARGEST:
            raise ValueError(
                f"depth {self.depth}, steps {self.steps} and batch {self.batch} need {gib:.0f} GiB "
                f"and {LARGEST} are allowed; give a smaller depth, steps or batch"
            )
        return self

    @model_validator(mode="after")
    def _has_equations(self) -> "Limit":
        if (self.phi == "linear") != (self.equations is None):
            raise ValueError(
                "equations go with a phi that is not linear, and only with such a phi; give "
                f"equations, one of {', '.join(EQUATIONS)}, and phi together"
            )
        if self.phi != "linear" and (self.rules, self.batch) != ("depth_mup", 1):
            raise ValueError(
                f"rules {self.rules} and batch {self.batch}: with a phi that is not linear the "
                "limit is known for depth_mup and batch 1; give these"
            )
        return self

    def run(self, width: int = 1) -> Run:
        """The finite network of some width whose limit this is."""
        net = Net(
            family="resmlp",
            width=width,
            depth=self.depth,
            phi=self.phi,
            center=self.phi != "linear",
            gain=self.gain,
            train_ends=False,
        )
        optim = Optim(kind="sgd", log2_lr=self.log2_lr, batch=self.batch, steps=self.steps)
        return Run(
            net=net,
            rules=self.rules,
            base=Base(width=1, depth=1),
            optim=optim,
            task=self.task,
            seed=self.seed,
        )

    def row(self) -> dict[str, Any]:
        """The columns of those runs, but the width, and the equations where they are chosen."""
        said = {name: value for name, value in self.run().row().items() if name != "width"}
        return said | ({"equations": self.equations} if self.equations else {})


class Probe(Part):
    """A probe entry: what is measured, and the grids of runs it is measured on."""

    measure: Annotated[str, one_of(MEASURES)]
    runs: Annotated[Any, Field(description="a grid, a list of grids, or grids by name")]


class Law(Part):
    """A law entry: the table it reads (of it the rows that have what `given` says) and what it
    derives from it, cell by cell of `by`."""

    reads: Annotated[str, Field(description="a table, such as sweep/tp6_resmlp")]
    derive: Annotated[str, one_of(DERIVED)]
    by: Annotated[list[Annotated[str, AfterValidator(known_column)]], Field(min_length=1)]
    metric: Annotated[str, one_of(METRICS)]
    anchor: dict[str, Any] = Field(default={}, description="columns and values")
    predictions: list[Annotated[str, one_of(PREDICTIONS)]] = Field(default=["constant"])
    over: Annotated[str, one_of(("log2_lr", *OVER))] = "log2_lr"
    given: dict[Annotated[str, AfterValidator(known_column)], Any] = Field(
        default={}, description="columns and values of the runs that are read"
    )
    chance: Annotated[
        float | None, Field(gt=0, description="the loss of a network that has learned nothing")
    ] = None
    within: Annotated[
        float | None, Field(gt=0, description="a log loss above 0, as far above the best")
    ] = None

    @model_validator(mode="after")
    def _only_what_carries_a_rate_has_an_anchor(self) -> "Law":
        carries = self.derive in ("transfer", "common")
        if self.anchor and not carries:
            raise ValueError(
                f"anchor is a setting of derive transfer and common, not of {self.derive}"
            )
        if carries and "depth" not in self.anchor:
            raise ValueError(
                f"derive {self.derive} needs an anchor with a depth, such as {{depth: 4}}"
            )
        if self.derive != "optima" and self.chance is not None:
            raise ValueError(f"chance is a setting of derive optima, not of {self.derive}")
        if self.derive != "optima" and self.over != "log2_lr":
            raise ValueError(f"over is a setting of derive optima, not of {self.derive}")
        if (self.derive == "viable") != (self.within is not None):
            raise ValueError(
                "derive viable needs within, and nothing else has it: the log loss above the best, "
                "such as 0.03"
            )
        for column in self.anchor:
            if column not in self.by:
                raise ValueError(f"anchor names {column}, which {nearest(column, self.by)}")
        return self

    def options(self) -> dict[str, Any]:
        """What the function that `derive` names is called with, besides the table."""
        said: dict[str, Any] = {"by": self.by, "metric": self.metric}
        if self.over != "log2_lr":
            said["over"] = self.over
        if self.anchor:
            said["anchor"] = self.anchor
        if self.derive == "transfer":
            said["predictions"] = self.predictions
        given = {"chance": self.chance, "within": self.within}
        return said | {name: value for name, value in given.items() if value is not None}
