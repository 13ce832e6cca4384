import hashlib
import math
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from conftest import BOTH, MakeRuns, same
from fathom.networks.stack import stack
from fathom.spec import TASKS
from fathom.sweeps.sweep import version
from fathom.training import compiled
from fathom.training.kernels.blas import kernels
from fathom.training.train import NUMERICS, Curves, learned, numerics, summary, train

# Twelve steps, well below the best rate: loss_mean on every task of the family but gaussian,
# and a digest of all bits, which binds processors of the one type MADE_ON. When these move, bump
# NUMERICS in train.py: otherwise rows trained before would be mixed with rows of today.
NAMED: dict[str, dict[str, Any]] = {
    "mlp": {"family": "mlp", "init_gain": 2.0},
    "resmlp": {"center": True},
    "resmlp pre": {"order": "pre", "block_depth": 2},
    "mlp tanh": {"family": "mlp", "phi": "tanh"},
    "resmlp tanh": {"phi": "tanh"},
    "resmlp layer": {"norm": "layer"},
    "linearised": {"family": "linearised", "block_depth": 2, "center": True},
    "lm": {"family": "lm", "phi": "gelu", "schedule": "cosine", "warmup": 3, "decay": 0.1},
}
DIGITS = [one for one in TASKS if one.startswith("digits")]
MADE_ON = ("rocketlake", "SkylakeX", "AVX512")
GOLDEN: dict[str, tuple[list[float], str]] = {
    "mlp sgd": ([2.375749, 2.36681, 2.399551, 2.420176, 0.853758], "03f8eb1dbabe"),
    "mlp adam": ([2.324912, 2.332219, 2.394224, 2.410767, 1.137889], "497e47387728"),
    "resmlp sgd": ([2.16664, 2.327594, 2.508225, 2.511588, 1.602117], "7cf47d2d1b0d"),
    "resmlp adam": ([2.130134, 2.279468, 2.502642, 2.501798, 2.124956], "6ac7aff6189d"),
    "resmlp pre sgd": ([2.294791, 2.329651, 2.451322, 2.46416, 1.176424], "7e1689a34a7d"),
    "resmlp pre adam": ([2.193937, 2.265979, 2.429918, 2.436155, 1.339254], "f43a1ec258b3"),
    "mlp tanh sgd": ([2.246356, 2.267091, 2.307232, 2.326184, 0.5936054], "8874d789c2e4"),
    "mlp tanh adam": ([2.15287, 2.211826, 2.308597, 2.323993, 0.5219881], "c916e192acd8"),
    "resmlp tanh sgd": ([2.180799, 2.344037, 2.506282, 2.5148, 1.511859], "84e197ed7c66"),
    "resmlp tanh adam": ([2.121142, 2.281888, 2.502297, 2.50442, 2.011667], "50b995163bcf"),
    "resmlp layer sgd": ([2.387712, 2.51299, 2.701195, 2.774972, 2.099573], "a98cea750b10"),
    "resmlp layer adam": ([2.391042, 2.488959, 2.698322, 2.7755, 4.208672], "f8525f4585c9"),
    "linearised sgd": ([2.148699, 2.297575, 2.528779, 2.511825, 1.529613], "dbe8b6f0c027"),
    "linearised adam": ([2.066221, 2.230498, 2.518646, 2.488416, 1.962143], "80ca6efc79fe"),
    "lm sgd": ([5.043496], "466f9c672654"),
    "lm adam": ([4.831963], "0aaa8c85586f"),
}
# One family at least for each way of training: in compiled kernels, and under autograd.
COMPILED: list[dict[str, Any]] = [
    {"family": "mlp", "phi": "abs"},
    {"phi": "relu", "center": True, "gain": [0.5, 1.0]},
    {"phi": "kink(-0.5)", "norm": "layer", "center": True},
    {"phi": "relu", "order": "pre", "block_depth": 2, "train_ends": False, "gain": [0.5, 1.0]},
    {"family": "mlp", "phi": "gelu"},
    {"phi": "tanh", "order": "pre", "block_depth": 2, "norm": "layer", "gain": [0.5, 1.0]},
]
AUTOGRAD: list[dict[str, Any]] = [
    {"family": "mlp", "phi": "tanh", "decay": 0.1},
    {"phi": "gelu", "norm": "layer", "center": True, "gain": [0.5, 1.0], "decay": 0.1},
    {"phi": "tanh", "order": "pre", "train_ends": False, "gain": [0.5, 1.0], "decay": 0.1},
    {"block_depth": 2, "phi": "tanh", "norm": "layer", "order": "pre", "decay": 0.1},
]


def alone(curves: Curves, i: int) -> Curves:
    return Curves(curves.loss[i : i + 1], curves.held_out[i : i + 1], curves.nets)


@pytest.mark.parametrize("way", BOTH)
def test_networks_that_are_looked_at_on_the_way_are_those_of_shorter_trainings(
    make_runs: MakeRuns, way: dict[str, Any]
) -> None:
    runs = make_runs(**way, kind="adam", log2_lr=[-6, -4], steps=6)
    nets = stack(runs)
    before = [weight.clone() for weight in nets.weights]
    looks = learned(nets, [2, 3, 6])
    for steps, found in zip((2, 3, 6), looks, strict=True):
        pairs = zip(found.weights, train(runs, steps=steps).nets.weights, strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert all(torch.equal(*pair) for pair in zip(nets.weights, before, strict=True))
    assert not torch.equal(before[1], looks[0].weights[1])


def test_these_runs_are_trained_in_both_ways(make_runs: MakeRuns) -> None:
    for net in (*COMPILED, *AUTOGRAD):
        assert all(compiled.covers(run) == (net in COMPILED) for run in make_runs(**net))
    assert [compiled.covers(make_runs(**net)[0]) for net in BOTH] == [True, False]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("net", BOTH)
def test_a_run_trained_twice_has_the_same_bits(
    make_runs: MakeRuns, net: dict[str, Any], kind: str
) -> None:
    runs = make_runs(**net, kind=kind, seed=[1, 2])
    assert same(train(runs), train(runs))


@pytest.mark.parametrize("net", BOTH)
def test_stopping_early_changes_no_loss_before(make_runs: MakeRuns, net: dict[str, Any]) -> None:
    run = make_runs(**net, kind="adam", steps=6)
    whole, part = train(run), train(run, steps=2)
    assert (part.loss == whole.loss[:, :2]).all()
    assert same(train(run, steps=99), whole)


SIZES = [(net, width) for net in COMPILED for width in (16, 17, 48, 144)]
SIZES += [(net, width) for net in AUTOGRAD for width in (16, 48, 64, 144)]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize(("net", "width"), SIZES)
def test_a_run_alone_has_the_bits_it_has_in_company(
    make_runs: MakeRuns, net: dict[str, Any], width: int, kind: str
) -> None:
    company = {"seed": [1, 2], "log2_lr": [-6, -3], "init_gain": [1.0, 2.0], "rules": "depth_mup"}
    batch = 32 if width % 16 == 0 else 25
    runs = make_runs(**company, **net, width=width, base_width=8, depth=3, batch=batch, kind=kind)
    together = train(runs)
    assert len({float(loss) for loss in together.loss[:, -1]}) == len(runs)
    for i, run in enumerate(runs):
        assert same(train([run]), alone(together, i))


@pytest.mark.parametrize(("kind", "log2_lr"), [("sgd", 40), ("adam", 100)])
@pytest.mark.parametrize("net", BOTH)
def test_a_huge_rate_is_a_row_of_inf_and_leaves_its_company_alone(
    make_runs: MakeRuns, net: dict[str, Any], kind: str, log2_lr: int
) -> None:
    runs = make_runs(**net, kind=kind, log2_lr=[-6, log2_lr, -5], batch=32)
    together = train(runs)
    rows = summary(together)
    assert set(rows[1].values()) == {math.inf}
    for i in (0, 2):
        assert all(map(math.isfinite, rows[i].values()))
        assert same(train([runs[i]]), alone(together, i))


def test_the_loss_falls_on_clean_digits(make_runs: MakeRuns) -> None:
    row = summary(train(make_runs(kind="adam", log2_lr=-7, steps=60, batch=32)))[0]
    assert row["loss_late"] < 0.6 * row["loss_early"]
    assert row["loss_held_out"] < 0.6 * row["loss_early"]


def test_a_summary_is_of_all_steps_and_of_each_fifth_of_them(make_runs: MakeRuns) -> None:
    nets = stack(make_runs())
    curve = np.arange(20.0)[None]
    row = summary(Curves(curve, np.array([2.5]), nets))[0]
    expected = {"loss_mean": 9.5, "loss_early": 1.5, "loss_second": 5.5, "loss_third": 9.5}
    expected |= {"loss_fourth": 13.5, "loss_late": 17.5, "loss_held_out": 2.5}
    assert row == pytest.approx(expected)
    row = summary(Curves(curve[:, :3], np.array([2.5]), nets))[0]
    assert [row[f"loss_{which}"] for which in ("early", "second", "late")] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_one_value_that_is_not_finite_makes_the_whole_row_inf(
    make_runs: MakeRuns, bad: float
) -> None:
    nets, curve = stack(make_runs()), np.array([[1.0, bad, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    rows = summary(Curves(curve, np.array([1.0, bad, 1.0]), nets))
    assert [set(row.values()) for row in rows] == [{math.inf}, {math.inf}, {1.0}]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("name", NAMED)
def test_losses_are_golden(make_runs: MakeRuns, name: str, kind: str) -> None:
    size: dict[str, Any] = {"width": 32, "depth": 4, "base_depth": 2, "steps": 12, "batch": 32}
    size |= {"batch": 4, "task": ["text"]} if name == "lm" else {"task": DIGITS}
    rate = {"sgd": -6, "adam": -9}[kind]
    found, bits = [], hashlib.sha256()
    for run in make_runs(**size, **NAMED[name], kind=kind, log2_lr=rate):
        curves = train([run])
        found.append(summary(curves)[0]["loss_mean"])
        bits.update(curves.loss.tobytes() + curves.held_out.tobytes())
    expected, digest = GOLDEN[f"{name} {kind}"]
    assert found == pytest.approx(expected, rel=1e-5)
    if (llvm.get_host_cpu_name(), kernels(), torch.backends.cpu.get_cpu_capability()) == MADE_ON:
        assert bits.hexdigest()[:12] == digest


def test_numerics_name_what_a_runs_numbers_depend_on(make_runs: MakeRuns) -> None:
    said = " ".join(f"{part} {NUMERICS[part]}" for part in ("resmlp", "adam", "digits"))
    assert numerics(make_runs(kind="adam", task="digits_sum")[0]) == said
    smooth = f"{said} smooth {NUMERICS['smooth']}"
    for phi in ("tanh", "gelu"):
        curved, other = (make_runs(kind="adam", phi=phi, decay=decay)[0] for decay in (0.0, 0.1))
        assert numerics(curved) == version(curved, "train") == smooth
        assert version(curved, "coordinates").startswith(f"{smooth} coordinates")
        assert numerics(other) == said, "by autograd, as before there were kernels for it"
        assert version(curved, "layer_sizes").startswith(f"{said} layer_sizes")
