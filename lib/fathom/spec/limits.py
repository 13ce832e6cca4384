"""Infinite networks that are solved without a sampled one beside: kernels, training, one step.

An entry {solve: ..., cases: ...} of params.yaml holds a grid of one of these; an entry without
`solve` is a grid of `Limit`.
"""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, model_validator

from fathom.spec.net import Count, Flag, Net, Part, Positive
from fathom.spec.run import Base, Limit, Optim, Rate, Run
from fathom.spec.words import one_of

KERNELS = ("linear", "relu", "sqrt2_relu", "abs", "erf", "tanh", "gelu", "softplus")
TRAINED = ("linear", "tanh", "gelu", "erf", "softplus")  # phi whose training is solved
LAZY = (*TRAINED, "relu")  # and those whose lazy training is
SAMPLES = {"unit": 1, "pair": 2}  # examples of a task, and inputs of each
MOST = 10_000  # depth x steps x samples of a linear network: 4 GB

Case = Annotated[
    int | None,
    Field(ge=0, description="a whole number, which numbers the cases of an interval"),
]


class Kernels(Part):
    """The kernels of an untrained residual network of infinite width, phi before the matrix, for
    two inputs of mean square 1 at `angles` angles from 0 to pi, and those of infinite depth."""

    phi: Annotated[str, one_of(KERNELS), Field(description=f"one of {', '.join(KERNELS)}")]
    depth: Count
    angles: Annotated[int, Field(ge=2, description="a whole number, at least 2")] = 33
    seed: Case = None

    def row(self) -> dict[str, Any]:
        """The columns of a table that say which case it is."""
        return _said(self, "phi", "depth")


class OneStep(Part):
    """One step of gradient descent of a linear residual network of infinite width on one datum,
    beside its closed form at infinite depth; `strength` is eta_0 gamma_0 y."""

    depth: Count
    strength: Positive
    train_ends: Flag = True
    seed: Case = None

    def row(self) -> dict[str, Any]:
        """The columns of a table that say which case it is."""
        return _said(self, "depth", "strength", "train_ends")


class Training(Part):
    """Full-batch training of a residual network of infinite width on a task, from output 0, looked
    at after `steps` updates. With `extrapolate` it is that of infinite depth, from this depth, a
    half and a quarter of it. `responses` false leaves out what the theory needs, to show that it
    does. `lazy` training is that of small gamma_0, linear in the kernel of the start. Any other
    with a phi that is not linear is solved by Monte Carlo over `sites` neurons."""

    phi: Annotated[str, one_of(LAZY), Field(description=f"one of {', '.join(LAZY)}")] = "linear"
    depth: Count
    log2_lr: Rate
    gamma_0: Positive = 1.0
    steps: Count
    task: Annotated[str, one_of(tuple(SAMPLES)), Field(description=f"one of {', '.join(SAMPLES)}")]
    train_ends: Flag = True
    responses: Flag = True
    lazy: Flag = False
    extrapolate: Flag = False
    sites: Annotated[int, Field(ge=128, description="a whole number, at least 128")] = 8000
    seed: Case = None

    @model_validator(mode="after")
    def _can_be_solved(self) -> "Training":
        size = self.depth * (self.steps + 1) * SAMPLES[self.task]
        if size > MOST:
            raise ValueError(
                f"depth {self.depth}, steps {self.steps} and task {self.task} make a problem of "
                f"{size} and {MOST} are allowed; give a smaller depth or fewer steps"
            )
        if self.phi not in TRAINED and not self.lazy:
            raise ValueError(
                f"phi {self.phi} is solved where training is lazy; give lazy: true, or a smooth "
                f"phi of {', '.join(TRAINED)}"
            )
        if (self.phi != "linear" or self.lazy) and not self.train_ends:
            raise ValueError(
                "train_ends false is solved for phi linear where training is not lazy; give true"
            )
        if self.extrapolate and self.depth % 4:
            raise ValueError(
                f"depth {self.depth} is not a multiple of 4, and extrapolate needs one"
            )
        return self

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths that are solved."""
        deep = self.depth
        return (deep // 4, deep // 2, deep) if self.extrapolate else (deep,)

    @property
    def by_monte_carlo(self) -> bool:
        """Whether it is solved by following sites, not exactly."""
        return self.phi != "linear" and not self.lazy

    def run(self, width: int, seed: int = 0) -> Run:
        """The network of finite width whose limit this is, in the paper's template. The template's
        input matrix has entries of variance one over the number D of inputs, and so has its rate
        a factor 1/D; here neither, as inputs are that much smaller. So init_gain is D, which
        gain and the rate of the blocks undo there."""
        inputs = SAMPLES[self.task]
        net = Net(
            family="resmlp",
            width=width,
            depth=self.depth,
            phi=self.phi,
            order="pre",
            gain=inputs**-0.5,
            init_gain=float(inputs),
            train_ends=self.train_ends,
            gamma_0=self.gamma_0,
        )
        optim = Optim(
            kind="sgd",
            log2_lr=self.log2_lr + inputs.bit_length() - 1,
            log2_lr_ends=None if inputs == 1 else self.log2_lr,
            batch=inputs,
            steps=self.steps,
        )
        return Run(
            net=net,
            rules="depth_mup",
            base=Base(width=1, depth=1),
            optim=optim,
            task=self.task,
            seed=seed,
        )

    def row(self) -> dict[str, Any]:
        """The columns of those runs but width, seed and, where it is infinite, depth."""
        less = ("width", "seed", *(["depth"] if self.extrapolate else []))
        said = {name: value for name, value in self.run(1).row().items() if name not in less}
        said |= {"gamma_0": self.gamma_0, "responses": self.responses}
        return said | ({} if self.seed is None else {"seed": self.seed})


SOLVED_BY: dict[str, type[Kernels] | type[OneStep] | type[Training]] = {
    "kernels": Kernels,
    "one_step": OneStep,
    "training": Training,
}
Solvable = Limit | Kernels | OneStep | Training


def _said(case: Part, *names: str) -> dict[str, Any]:
    seed = getattr(case, "seed", None)
    return {name: getattr(case, name) for name in names} | ({} if seed is None else {"seed": seed})


def sampled(found: Iterable[object]) -> list[Training]:
    """The trainings among cases that Monte Carlo solves, those that differ in nothing but how
    long they last as one, the longest."""
    longest: dict[Training, Training] = {}
    for one in found:
        if isinstance(one, Training) and one.by_monte_carlo:
            same = one.model_copy(update={"steps": 1})
            longest[same] = max(one, longest.get(same, one), key=lambda case: case.steps)
    return list(longest.values())
