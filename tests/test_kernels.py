"""The hand-written passes of the compiled kernels are those that autograd derives."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.networks.parametrization import PARAMETRIZATIONS, Parametrization, Power, Rule
from fathom.networks.stack import Stack, stack
from fathom.phi import PHI, left_slope
from fathom.spec import FAMILIES, Run
from fathom.training import compiled
from fathom.training.kernels.operations import COMPILED_FROM
from fathom.training.kernels.residual_buffers import STRAIGHT, TANH, Network
from fathom.training.train import Curves, summary, train

# Every factor differs from 1 and from every other, so that none can stand in for another.
CROOKED = Parametrization(
    "ntp",
    Power(-0.5, -0.25),
    {
        "input": Rule(Power(0.1, 0.2), Power(-0.2), Power(0.3), Power(0.2), Power(-0.3)),
        "block": Rule(Power(-0.5, 0.1), Power(0.1), Power(0.2), Power(-0.2), Power(0.1)),
        "block:2": Rule(Power(-0.4, -0.1), Power(0.2), Power(0.1), Power(-0.1), Power(-0.1)),
        "readout": Rule(Power(-0.3, 0.3), Power(-0.1), Power(0.1), Power(0.1), Power(0.2)),
        "bias": Rule(Power(-0.2, -0.3), Power(), Power(-0.1), Power(-0.2), Power(-0.2)),
    },
)
NETS: list[dict[str, Any]] = [{"family": "mlp"}] + [
    {"family": "resmlp", "order": order, "block_depth": size, "center": center, "gain": 0.7}
    | ({"norm": "layer"} if norm else {})
    for order in ("pre", "post")
    for size in (1, 2)
    for center, norm in ((True, False), (False, False), (True, True))
]
NAMES = ("linear", "relu", "abs", "kink(-0.4)", "tanh", "gelu")


@pytest.fixture(autouse=True)
def crooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMETRIZATIONS, "ntp", CROOKED)
    # an epsilon that matters: its usual size would hide where it is added
    monkeypatch.setattr("fathom.networks.stack.EPSILON", 1e-2)


def odd(make_runs: MakeRuns, **changes: Any) -> list[Run]:
    """Runs of an odd width, away from their base, with gains other than 1."""
    size = {"width": 17, "base_width": 8, "depth": 3, "base_depth": 2, "batch": 16}
    return make_runs(**{"rules": "ntp", "init_gain": 0.8, **size, **changes})


def by_autograd(run: Run, monkeypatch: pytest.MonkeyPatch) -> Curves:
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "covers", lambda run: False)
        return train([run])


@torch.no_grad()
def apart(here: Curves, there: Curves) -> float:
    """The largest difference between two trainings' weights, over the largest of the layer."""
    pairs = zip(here.nets.weights, there.nets.weights, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def distance(here: Curves, there: Curves) -> float:
    """The largest relative difference between two trainings: losses, held-out loss, weights."""
    pairs = [(here.loss, there.loss), (here.held_out, there.held_out)]
    return max(apart(here, there), *(float(np.abs(a / b - 1).max()) for a, b in pairs))


@pytest.mark.parametrize("task", ["digits", "digits_mse"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("net", NETS)
def test_a_dozen_steps_in_compiled_loops_are_those_of_autograd(
    make_runs: MakeRuns,
    monkeypatch: pytest.MonkeyPatch,
    net: dict[str, Any],
    ends: bool,
    kind: str,
    task: str,
) -> None:
    rate = {"adam": -6.0, "sgd": -4.0 if task == "digits" else -7.0}[kind]
    for phi in NAMES:
        changes = {**net, "phi": phi, "train_ends": ends, "kind": kind, "task": task, "steps": 12}
        runs = odd(make_runs, **changes, log2_lr=rate, seed=[1, 2, 3])
        # a unit within rounding of a kink may fall on either side of it; not so for every seed
        assert any(distance(train([run]), by_autograd(run, monkeypatch)) < 1e-5 for run in runs)


@pytest.mark.parametrize("task", ["digits", "digits_mse"])
@pytest.mark.parametrize("net", NETS)
def test_a_gradient_is_that_of_autograd_to_within_rounding(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, net: dict[str, Any], task: str
) -> None:
    # one step at a rate beside which the weights it starts from are nothing
    for phi in NAMES:
        changes = {**net, "phi": phi, "task": task, "steps": 1, "log2_lr": 14, "seed": [1, 2, 3]}
        runs = odd(make_runs, **changes)
        assert any(apart(train([run]), by_autograd(run, monkeypatch)) < 2e-6 for run in runs)


def layers(field: str) -> list[tuple[str, Any]]:
    """One layer's entry spoiled at a time: stem, both matrices of a block, read-out."""
    return [
        (field, lambda old, i=i: old * np.where(np.arange(len(old)) == i, 1.1, 1).astype("f4"))
        for i in (0, 1, 2, 7)
    ]


SPOILED: list[tuple[str, Any]] = [
    ("curve", lambda old: TANH),
    ("left", lambda old: old + np.float32(0.1)),
    ("keep", lambda old: old - np.float32(0.1)),
    ("branch", lambda old: old * np.float32(1.1)),
    *((switch, lambda old: not old) for switch in ("pre", "center", "ends", "adam")),
    *layers("mult"),
    *layers("rate"),
    *layers("eps"),
]


@pytest.mark.parametrize(("field", "spoil"), SPOILED)
def test_with_anything_else_in_its_plan_a_training_is_another(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, field: str, spoil: Any
) -> None:
    net = {"order": "post", "block_depth": 2, "center": True, "gain": 0.7, "phi": "relu"}
    run = odd(make_runs, **net, kind="adam", log2_lr=-6, steps=12)[0]
    there, right = by_autograd(run, monkeypatch), compiled._network

    def wrong(nets: Stack, i: int) -> Network:
        net = right(nets, i)
        return net._replace(**{field: spoil(getattr(net, field))})

    assert distance(train([run]), there) < 1e-5
    monkeypatch.setattr(compiled, "_network", wrong)
    assert distance(train([run]), there) > 1e-3


@pytest.mark.parametrize("family", ["mlp", "resmlp"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_ends_move_only_where_they_are_trained(
    make_runs: MakeRuns, decay: float, family: str, kind: str, ends: bool
) -> None:
    runs = make_runs(family=family, decay=decay, depth=3, kind=kind, train_ends=ends)
    before, after = stack(runs).weights, train(runs).nets.weights
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert moved == [ends, *[True] * (len(moved) - 2), ends]


class Watch:
    """A checkpoint that notes what becomes of a number too small for full precision."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def load(self) -> None:
        self.save({})

    def save(self, arrays: dict[str, np.ndarray]) -> None:
        self.seen.append(float(torch.tensor(1e-40) * 1))


def test_numbers_too_small_for_full_precision_are_0_in_training_and_only_there(
    make_runs: MakeRuns,
) -> None:
    watch = Watch()
    for run in odd(make_runs, decay=[0.0, 0.1]):
        watch.save({})
        train([run], checkpoint=watch)
    assert [one > 0 for one in watch.seen] == [True, False, True, False]


def test_the_loops_cover_nonlinearities_that_they_have_and_know_which_are_straight(
    make_runs: MakeRuns,
) -> None:
    for name, known in PHI.items():
        at_one, at_two = known.f(np.array([-1.0, 1.0])), known.f(np.array([-2.0, 2.0]))
        straight = np.array_equal(at_two, 2 * at_one) and at_one[1] == 1
        run = make_runs(phi=name)[0]
        assert compiled.covers(run) == (name not in ("erf", "softplus"))
        if not compiled.covers(run):
            continue
        assert (compiled._network(stack([run]), 0).curve == STRAIGHT) == straight
        assert left_slope(name) == (-at_one[0] if straight else None)


BY_AUTOGRAD = {"linearised", "cnn", "resconv"}


def test_every_family_in_kernels_is_compared_with_autograd() -> None:
    from test_transformers import ODD, VISION

    assert {net["family"] for net in [*NETS, ODD, VISION]} == set(FAMILIES) - BY_AUTOGRAD


def test_loops_are_compiled_anew_when_any_file_they_are_made_of_changes() -> None:
    lib = Path(compiled.__file__).parents[1]
    sources = {path: path.read_text() for path in lib.rglob("*.py")}
    kernels = {path for path, source in sources.items() if "@njit" in source}
    used = re.findall(r"from fathom\.(\S+) import", "".join(sources[path] for path in kernels))
    assert kernels | {lib / f"{name.replace('.', '/')}.py" for name in used} <= set(COMPILED_FROM)


@pytest.mark.parametrize("moves", [{"schedule": "cosine"}, {"warmup": 2}, {"decay": 0.1}])
def test_a_rate_that_moves_or_a_weight_that_decays_is_left_to_autograd(
    make_runs: MakeRuns, moves: dict[str, Any]
) -> None:
    assert compiled.covers(make_runs()[0]) and not compiled.covers(make_runs(**moves)[0])


def test_a_rate_of_their_own_is_heard_by_the_ends_in_both_ways(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, own = odd(make_runs)[0], odd(make_runs, log2_lr_ends=-7)[0]
    assert distance(train([own]), by_autograd(own, monkeypatch)) < 1e-4
    assert distance(train([own]), train([plain])) > 1e-4
    same = odd(make_runs, log2_lr_ends=plain.optim.log2_lr)[0]
    assert distance(train([same]), train([plain])) == 0


@pytest.mark.parametrize("task", ["digits", "digits_mse"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("layer", ["stem", "blocks", "readout"])
@pytest.mark.parametrize("net", [NETS[0], NETS[1], NETS[-1]])
def test_one_weight_that_is_not_finite_makes_every_loss_so(
    make_runs: MakeRuns, net: dict[str, Any], layer: str, bad: float, task: str
) -> None:
    session = compiled.Session(stack(odd(make_runs, **net, phi="abs", task=task)), 0)
    assert np.isfinite(session.held_out()).all()
    getattr(session.weights, layer)[..., 3, 5] = bad
    assert not np.isfinite(session.held_out()).any()
    assert not np.isfinite(session.learn(0, 3)).any()


@pytest.mark.parametrize("task", ["digits", "digits_mse"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("net", NETS)
def test_what_diverges_is_a_row_of_inf(
    make_runs: MakeRuns, net: dict[str, Any], kind: str, task: str
) -> None:
    run = odd(make_runs, **net, kind=kind, log2_lr=100, task=task)[0]
    assert set(summary(train([run]))[0].values()) == {np.inf}
