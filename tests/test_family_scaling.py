"""How every layer of every family scales with width and depth, typed in by hand, and what that
does: coordinate checks and the symmetry of multipliers, initialisation and rates."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from fathom.measurement import measured
from fathom.networks.families import build
from fathom.networks.layers import Vector
from fathom.networks.parametrization import PARAMETRIZATIONS, Parametrization, Power, Rule
from fathom.networks.stack import rate, stack
from fathom.networks.tasks import task
from fathom.spec import FAMILIES, Base, Net, Optim, Run
from fathom.training.train import learned, train
from torch import Tensor


class Powers(NamedTuple):
    """Exponents in (width, depth) of a layer's entries at the start and of its rates."""

    std: tuple[float, float]
    sgd: tuple[float, float]
    adam: tuple[float, float]


NO = (0.0, 0.0)
# Depthwise transfer, Table 1 in the form of standard initialisation (3.2), and 3.3 for Adam.
STEM = Powers(NO, (1, 0), NO)
READOUT = Powers((-1, 0), (-1, 0), (-1, 0))
BETWEEN = Powers((-0.5, 0), NO, (-1, 0))  # a matrix that is no branch has no power of depth
BRANCH = {
    "mup": BETWEEN,
    "depth_mup": Powers((-0.5, 0), NO, (-1, -0.5)),
    "completep": Powers((-0.5, 0), (0, 1), (-1, 0)),
}
INSIDE = {  # gains and biases in a branch
    "mup": STEM,
    "depth_mup": Powers(NO, (1, 0), (0, -0.5)),
    "completep": Powers(NO, (1, 1), NO),
}
SP = {"stem": Powers(NO, NO, NO), "grows": Powers((-0.5, 0), NO, NO)}
NETS: dict[str, dict[str, Any]] = {
    "cnn": {"norm": "batch", "affine": True, "bias": True},
    "resconv": {"order": "pre", "norm": "layer", "affine": True, "bias": True},
    "vit": {"affine": True, "bias": True, "layer_scale": 0.5, "patch": 7},
    "lm": {"affine": True, "bias": True, "layer_scale": 0.5},
}
PLAIN: dict[str, dict[str, Any]] = {
    "cnn": {"norm": "none", "affine": False, "bias": False, "init_gain": 2.0},
    "resconv": {"norm": "none", "affine": False, "bias": False},
    "vit": {"affine": False, "bias": False, "layer_scale": None},
    "lm": {"affine": False, "bias": False, "layer_scale": None},
}
# Of every family the layers of a network of base size, in order: stem s, branch b, transition t,
# vectors inside of branches v and outside of them o, read-out r.
ORDER = {
    "cnn": "sooo" + 2 * "bvvv" + "r",
    "resconv": "so" + "bvvv" + "to" + "bvvv" + "to" + "bvvv" + "r",
    "vit": "sos" + 3 * ("bbbbbb" + "vvvvvv" + "vvv" + "vvv") + "oo" + "r",
    "lm": "ss" + 3 * ("bbbbbb" + "vvvvvv" + "vvv" + "vvv") + "oo" + "r",
}


def run_of(family: str, rules: str, kind: str, wider: int = 1, deeper: int = 1, **net: Any) -> Run:
    made = Net(family=family, width=16 * wider, depth=3 * deeper, **{**NETS.get(family, {}), **net})
    optim = Optim(kind=kind, log2_lr=-8, batch=4, steps=4)
    about = {"lm": "text", "mlp": "digits", "resmlp": "digits"}.get(family, "fashion14")
    return Run(net=made, rules=rules, base=Base(width=16, depth=3), optim=optim, task=about, seed=1)


def powers(kind: str, rules: str) -> Powers:
    """What the hand-typed tables say of a letter of ORDER."""
    if rules == "sp":
        return SP["grows" if kind in "btr" else "stem"]
    branch, inside = BRANCH[rules], INSIDE[rules]
    return {"s": STEM, "o": STEM, "b": branch, "v": inside, "t": BETWEEN, "r": READOUT}[kind]


@pytest.mark.parametrize("rules", ["sp", "mup", "depth_mup", "completep"])
@pytest.mark.parametrize("family", ORDER)
def test_every_layer_scales_as_the_papers_tables_say(family: str, rules: str) -> None:
    about = task(run_of(family, rules, "sgd").task)
    layers = build(run_of(family, rules, "sgd").net, about.inputs, about.outputs).layers
    assert len(layers) == len(ORDER[family])
    for kind, layer in zip(ORDER[family], layers, strict=True):
        assert isinstance(layer, Vector) == (kind in "vo")
        for axis, sizes in enumerate(({"wider": 4}, {"deeper": 4})):
            said = powers(kind, rules)
            for name, power in (("sgd", said.sgd), ("adam", said.adam)):
                small, large = (run_of(family, rules, name, **size) for size in ({}, sizes))
                found = math.log(rate(large, layer.role) / rate(small, layer.role), 4)
                assert found == pytest.approx(power[axis])


@pytest.mark.parametrize("rules", ["sp", "mup", "depth_mup", "completep"])
@pytest.mark.parametrize("family", ORDER)
def test_every_layer_begins_as_the_papers_tables_say(family: str, rules: str) -> None:
    small, wide = (stack([run_of(family, rules, "sgd", wider=n)]) for n in (1, 4))
    for kind, layer, a, b in zip(
        ORDER[family], small.model.layers, small.weights, wide.weights, strict=True
    ):
        if isinstance(layer, Vector):
            assert float(a.std()) == float(b.std()) == 0.0 or a.numel() == 1
        elif a.numel() > 400:
            found = math.log(float(b.std() / a.std()), 4)
            assert found == pytest.approx(powers(kind, rules).std[0], abs=0.06)


@pytest.mark.parametrize("family", ["cnn", "resconv", "vit", "lm"])
def test_at_base_size_every_parametrization_is_the_same_network(family: str) -> None:
    losses = [train([run_of(family, rules, "sgd")]).loss for rules in ("sp", "mup", "depth_mup")]
    assert (losses[0] == losses[1]).all() and (losses[0] == losses[2]).all()


def grown(family: str, rules: str, of: str, axis: str) -> float:
    """The exponent of a size in width or depth, from base to eight times that."""
    kind = "adam" if family in ("vit", "lm") else "sgd"
    found = []
    for size in (1, 8):
        run = run_of(family, rules, kind, **{axis: size}, **PLAIN.get(family, {}))
        found.append(measured([run, run.model_copy(update={"seed": 2})], "sizes"))
    small, large = (sum(one[of] for one in ones) for ones in found)
    return math.log(large / small, 8)


@pytest.mark.parametrize("family", ["resconv", "vit", "lm"])
def test_streams_move_the_same_at_every_depth_and_not_without_the_factor(family: str) -> None:
    assert abs(grown(family, "depth_mup", "unit_move", "deeper")) < 0.3
    without = grown(family, "mup", "unit_move", "deeper")
    assert without > 0.4 or math.isnan(without)  # nan: diverged


@pytest.mark.parametrize("family", ["cnn", "resconv", "vit", "lm"])
def test_the_output_moves_no_further_in_wider_networks_but_does_in_the_standard_form(
    family: str,
) -> None:
    right, wrong = (grown(family, rules, "output_move", "wider") for rules in ("mup", "sp"))
    assert right < 0.2 and wrong > right + 0.3


def with_factors(rules: str, left: str) -> Parametrization:
    """A parametrization whose weights begin smaller by factors, a different one for every kind,
    that their multipliers bring back, with the rates that make up for them; vectors, which have no
    entries to begin smaller, keep their rules. `left` names a part that stays as it
    was, or none."""
    before, shifts = PARAMETRIZATIONS[rules], {"input": 0.5, "block": 1.0, "readout": -1.0}
    times = {"mult": 1, "init": -1, "sgd": -2, "adam": -1, "eps": 1, "decay": 1}
    after = {}
    for role, shift in shifts.items():
        old = before.rule(role)._asdict()
        after[role] = Rule(
            **{name: Power(old[name].width + (name != left) * times[name] * shift, old[name].depth)
               for name in old}
        )  # fmt: skip
    return replace(before, rules={**before.rules, "norm:last": before.rule("norm:last"), **after})


def outputs(family: str, kind: str) -> list[Tensor]:
    """Outputs before training and after three steps, away from base size and with every vector
    there is; under Adam with a decay."""
    run = run_of(family, "depth_mup", kind, wider=2, deeper=2)
    moves = {"log2_lr": -8.0, "decay": 2.0} if kind == "adam" else {"log2_lr": -5.0}
    run = run.model_copy(update={"optim": run.optim.model_copy(update=moves)})
    nets, x = stack([run]), task(run.task).x[None, :4]
    (taught,) = learned(nets, [3])
    with torch.no_grad():
        return [one(x)[0] for one in (nets, taught)]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_factor_moved_from_the_weights_to_the_multiplier_changes_nothing(
    family: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """abc-symmetry: a multiplier m with entries over m, the SGD rate over m^2 or the Adam rate
    over m. Of Adam it is exact where epsilon is times m, as the gradients are."""
    monkeypatch.setattr("fathom.networks.stack.EPSILON", 1e-2)
    start, end = outputs(family, kind)
    for left in ("", *(("sgd",) if kind == "sgd" else ("adam", "eps", "decay"))):
        with monkeypatch.context() as patch:
            patch.setitem(PARAMETRIZATIONS, "depth_mup", with_factors("depth_mup", left))
            first, last = outputs(family, kind)
        torch.testing.assert_close(first, start, rtol=1e-4, atol=1e-5)
        off = float((last - end).norm() / (end - start).norm())
        assert off > 1e-2 if left else off < 1e-4, left


@pytest.mark.parametrize("family", ["cnn", "resconv", "vit", "lm"])
def test_one_step_is_the_small_rate_limit_of_a_real_step(family: str) -> None:
    run = run_of(family, "depth_mup", "sgd")
    small = run.model_copy(update={"optim": run.optim.model_copy(update={"log2_lr": -14.0})})
    nets, about = stack([small]), task(run.task)
    (after,) = learned(nets, [1])
    x = about.x[about.batches(1, 4, 4)[0]][None]
    with torch.no_grad():
        moves = [(b - a).double() for a, b in zip(nets(x)[1], after(x)[1], strict=True)]
    found = measured([small], "one_step")[0]
    assert float(moves[-1].square().mean()) == pytest.approx(found["update_last"], rel=0.05)
    mean = sum(float(move.square().mean()) for move in moves) / len(moves)
    assert mean == pytest.approx(found["update_mean"], rel=0.05)


@pytest.mark.parametrize("family", ["cnn", "resconv", "vit", "lm"])
def test_of_one_example_both_one_step_measures_are_the_same(family: str) -> None:
    run = run_of(family, "mup", "sgd", **PLAIN[family])
    for batch, same in ((1, True), (2, False)):
        few = run.model_copy(update={"optim": run.optim.model_copy(update={"batch": batch})})
        one, each = (measured([few], f"one_{name}") for name in ("step", "sample_step"))
        assert (one == each) == same
