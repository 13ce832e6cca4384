from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom import measurement
from fathom.law import chain_constant, finite_depth
from fathom.measurement import coordinates, diversity, measured
from fathom.measurement.coordinates import _middle
from fathom.networks.stack import stack, truncated
from fathom.networks.tasks import drawn, task
from fathom.spec import Refused, Run
from fathom.sweeps.plan import stacked
from fathom.training.train import train

DEPTHS = (8, 32, 128)
WIDTHS = (32, 128, 512)
# Three steps of Adam at a small rate, away from the base size in width and depth.
SMALL: dict[str, Any] = {
    "kind": "adam",
    "log2_lr": -12,
    "base_depth": 1,
    "seed": [1, 2, 3],
    "steps": 3,
}


def moves(make_runs: MakeRuns, along: str, sizes: tuple[int, ...], **changes: Any) -> list[float]:
    """The coordinate check: how far the last unit moves in three steps, at each size."""
    found = []
    for size in sizes:
        runs = make_runs(**{**SMALL, "width": 32, **changes, along: size})
        found.append(float(np.mean([row["stream_move"] for row in coordinates(runs)])))
    return found


@pytest.mark.parametrize("rules", ["depth_mup", "ode"])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_coordinates_do_not_grow_with_depth_under_depth_mup_and_ode(
    make_runs: MakeRuns, rules: str, order: str
) -> None:
    # ends are frozen: their own movement is flat, and would hide that of the blocks
    changes = {"rules": rules, "order": order, "center": order == "post", "train_ends": False}
    found = moves(make_runs, "depth", DEPTHS, **changes)
    assert max(found) < 1.3 * min(found)


@pytest.mark.parametrize("order", ["post", "pre"])
def test_coordinates_grow_with_depth_under_mup(make_runs: MakeRuns, order: str) -> None:
    found = moves(make_runs, "depth", DEPTHS, rules="mup", order=order, center=order == "post")
    assert found[1] > 100 * found[0]
    assert found[2] > 100 * found[1]


@pytest.mark.parametrize("rules", ["mup", "depth_mup"])
@pytest.mark.parametrize(("kind", "log2_lr"), [("adam", -12), ("sgd", -6)])
def test_coordinates_do_not_grow_with_width_under_mup(
    make_runs: MakeRuns, rules: str, kind: str, log2_lr: int
) -> None:
    found = moves(make_runs, "width", WIDTHS, rules=rules, kind=kind, log2_lr=log2_lr, depth=2)
    assert max(found) < 1.1 * min(found)


def test_coordinates_grow_with_width_under_sp(make_runs: MakeRuns) -> None:
    found = moves(make_runs, "width", WIDTHS, rules="sp", depth=2)
    assert found[1] > 1.5 * found[0]
    assert found[2] > 2 * found[1]


@pytest.mark.parametrize(
    ("rules", "exponent"), [("depth_mup", 0), ("first_layer", 1 / 2), ("completep", 0)]
)
def test_two_matrices_in_a_block_move_the_output_as_section_9_counts(
    make_runs: MakeRuns, rules: str, exponent: float
) -> None:
    size: dict[str, Any] = {"phi": "linear", "block_depth": 2, "width": 64, "base_width": 64}
    size |= {
        "base_depth": 8,
        "gain": 0.35,
        "rules": rules,
        "center": True,
        "train_ends": False,
        "steps": 1,
        "seed": [1, 2, 3],
    }
    few, many = (
        np.mean([row["output_move"] for row in coordinates(make_runs(**size, depth=d, log2_lr=-9))])
        for d in (32, 512)
    )
    assert np.log2(many / few) / 4 == pytest.approx(exponent, abs=0.15)


@pytest.mark.parametrize(("block_depth", "ratio"), [(1, 1.0), (2, 0.0)])
def test_behind_a_second_matrix_even_linear_blocks_see_unrelated_gradients(
    make_runs: MakeRuns, block_depth: int, ratio: float
) -> None:
    size = {"width": 256, "depth": 32, "base_width": 256, "base_depth": 4, "gain": 0.5}
    runs = make_runs(**size, phi="linear", block_depth=block_depth, steps=1, seed=[1, 2])
    found = np.mean([row["decorrelation"] for row in coordinates(runs)])
    assert found == pytest.approx(ratio, abs=0.06)


@pytest.mark.parametrize("depth", [2, 3, 8])
def test_the_middle_is_the_first_matrix_of_a_block_with_another_behind_it(
    make_runs: MakeRuns, depth: int
) -> None:
    for block_depth in (1, 2):
        nets = stack(make_runs(depth=depth, block_depth=block_depth))
        block, first, second = _middle(nets)
        assert (first, second) == (1 + (block - 1) * block_depth, 1 + block * block_depth)
        assert 1 <= block < depth and nets.model.layers[second].role.startswith("block")


def test_at_a_rate_of_nothing_nothing_moves(make_runs: MakeRuns) -> None:
    (row,) = coordinates(make_runs(kind="adam", log2_lr=-120, center=True))
    assert max(row[name] for name in ("stream_move", "output_move", "hidden_move", "rest")) < 1e-6
    assert min(row[name] for name in ("stream_init", "hidden_init")) > 0.1


@pytest.mark.parametrize(
    ("phi", "ratio"), [("linear", 1.0), ("kink(0.1)", 0.599), ("relu", 0.5), ("abs", 0.0)]
)
def test_neighbouring_gradients_are_as_alike_as_theory_says(
    make_runs: MakeRuns, phi: str, ratio: float
) -> None:
    # mu^2 / (mu^2 + nu^2) for phi = mu z + nu |z|
    size = {"width": 256, "depth": 32, "base_width": 256, "base_depth": 4, "gain": 0.5}
    runs = make_runs(**size, phi=phi, center=True, kind="adam", log2_lr=-12, steps=1, seed=[1, 2])
    found = np.mean([row["decorrelation"] for row in coordinates(runs)])
    assert found == pytest.approx(ratio, abs=0.06)


def test_the_stream_is_rougher_under_depth_mup_than_at_the_ode_point(make_runs: MakeRuns) -> None:
    size = {"width": 64, "base_width": 64, "depth": 256, "base_depth": 4, "center": True}
    size |= {"kind": "adam", "log2_lr": -8, "batch": 32, "steps": 10, "train_ends": False}
    rough, smooth = (diversity(make_runs(**size, rules=one))[0] for one in ("depth_mup", "ode"))
    assert 0.42 < rough["slope"] < 0.56
    assert smooth["slope"] > 0.6
    for row in (rough, smooth):
        assert 0.4 < row["slope_init"] < 0.6
        gaps = np.array([row[f"gap_{j}"] for j in range(4, 9)])
        assert np.isnan(row["gap_9"]) and (np.diff(gaps) < 0).all()
        fit = np.polyfit(-np.arange(4, 9), np.log2(gaps), 1)[0]
        assert row["slope"] == pytest.approx(fit, rel=1e-6)


@pytest.mark.parametrize("way", [{"phi": "relu", "center": True}, {"phi": "tanh"}])
@pytest.mark.parametrize("measure", ["diversity", "layer_sizes"])
def test_looking_at_a_training_as_it_goes_is_looking_after_each_of_its_steps(
    make_runs: MakeRuns, way: dict[str, Any], measure: str
) -> None:
    runs = make_runs(**way, kind="adam", log2_lr=-7, depth=32, steps=[5, 1, 3], seed=[1, 2])
    assert len({truncated(run).key for run in runs}) == 2
    alone = [measured([run], measure)[0] for run in runs]
    together, every_second = measured(runs, measure), measured(runs[::2], measure)
    assert str(together) == str(alone)  # as words, in which nan is nan
    assert str(every_second) == str(alone[::2])
    assert len(set(map(str, alone))) == 6


def test_under_a_schedule_a_run_is_a_training_of_its_own(make_runs: MakeRuns) -> None:
    for change in ({"schedule": "cosine"}, {"warmup": 1}, {"decay": 0.1}):
        runs = make_runs(**change, steps=[2, 4])
        assert [truncated(run) for run in runs] == runs


@pytest.mark.parametrize("depth", [16, 48])
def test_diversity_refuses_depths_it_cannot_cut(make_runs: MakeRuns, depth: int) -> None:
    with pytest.raises(Refused, match=f"depth {depth}: .*32, 64"):
        measurement.measured(make_runs(depth=depth), "diversity")


def one_real_step(run: Run) -> dict[str, float]:
    """The movement of the units in an SGD step that is really taken, on the step's batch."""
    about = task(run.task)
    x = about.x[about.batches(run.seed, run.optim.batch, 1)[0]].unsqueeze(0)
    before, after = stack([run]), train([run], steps=1).nets
    with torch.no_grad():
        units = [unit.double() for unit in before(x)[1]]
        change = [now.double() - unit for now, unit in zip(after(x)[1], units, strict=True)]
    squares = np.array([float(one.square().mean()) for one in change])
    sizes = np.array([float(one.square().mean()) for one in units])
    return {
        "update_mean": squares.mean(),
        "update_last": squares[-1],
        "update_max": squares.max(),
        "update_relative": (squares / sizes).mean(),
    }


@pytest.mark.parametrize("about", ["digits", "digits_mse"])
@pytest.mark.parametrize(
    "changes",
    [
        {"family": "mlp", "depth": 5, "rules": "sp"},
        {"family": "mlp", "depth": 5, "rules": "mup", "init_gain": 2.0, "base_width": 4},
        {"family": "mlp", "depth": 5, "rules": "ntp", "train_ends": False, "base_width": 4},
        {"depth": 6, "rules": "depth_mup", "order": "pre", "gain": 1.5},
        {"depth": 6, "rules": "ntp", "block_depth": 2, "center": True, "base_width": 4},
        {"depth": 6, "rules": "ode", "norm": "layer", "train_ends": False},
    ],
)
def test_one_step_is_a_real_step_at_a_tiny_rate(
    make_runs: MakeRuns, changes: dict[str, Any], about: str
) -> None:
    # tanh, because a kink that is crossed is no part of the first order
    run = make_runs(**changes, width=32, phi="tanh", log2_lr=-12, task=about)[0]
    assert measurement.one_step([run])[0] == pytest.approx(one_real_step(run), rel=1e-2)


def test_one_step_is_quadratic_in_the_rate(make_runs: MakeRuns) -> None:
    slow, fast = measurement.one_step(make_runs(log2_lr=[-4, -2]))
    assert fast == pytest.approx({name: 16 * value for name, value in slow.items()}, rel=1e-4)


def test_a_run_moves_alike_alone_and_in_a_stack(make_runs: MakeRuns) -> None:
    runs = make_runs(seed=[1, 2], rules="ntp", base_width=4, log2_lr=[-4, -3], gain=[0.5, 1.0])
    for measure in ("one_step", "one_sample_step"):
        alone = [measurement.one_step([run], measure)[0] for run in runs]
        assert measurement.one_step(runs, measure) == alone


def test_one_sample_steps_are_steps_on_one_example_averaged(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(family="mlp", width=32, depth=4, task="gaussian", batch=16, log2_lr=0)
    x, y = (part.unsqueeze(0) for part in drawn("gaussian", 1, 16, 32))
    found, whole = (
        measurement.one_step(runs, measure)[0] for measure in ("one_sample_step", "one_step")
    )
    module = import_module("fathom.measurement.one_step")  # whose name is the function's too
    single = []
    for i in range(16):
        only = slice(i, i + 1)
        monkeypatch.setattr(module, "first_batch", lambda _, s=only: (x[:, s], y[:, s]))
        single.append(measurement.one_step(runs)[0])
    for name in ("update_mean", "update_last"):
        averaged = np.mean([one[name] for one in single])
        assert found[name] == pytest.approx(averaged, rel=1e-4)
        assert whole[name] != pytest.approx(averaged, rel=0.1)


def ratio_to_formula(make_runs: MakeRuns, phi: str, depth: int, gain: float, kappa: float) -> float:
    """The measured maximal-update rate over the finite-depth formula (FD), constant included."""
    changes = {"family": "mlp", "rules": "mup", "base_width": 1, "base_depth": 1, "log2_lr": 0}
    changes |= {"task": "gaussian", "batch": 16, "init_gain": gain, "seed": {"range": [1, 12]}}
    steps = measurement.one_step(
        make_runs(**changes, phi=phi, width=512, depth=depth), "one_sample_step"
    )
    rate = np.mean([step["update_mean"] for step in steps]) ** -0.5
    return float(rate / finite_depth(depth, kappa=kappa, constant=chain_constant(gain, 1.0)))


@pytest.mark.parametrize("depth", [3, 6, 8])
def test_one_step_on_a_relu_chain_is_the_finite_depth_formula(
    make_runs: MakeRuns, depth: int
) -> None:
    assert ratio_to_formula(make_runs, "relu", depth, 2.0, 2.0) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("depth", [6, 16])
def test_one_step_on_a_chain_of_abs_has_kappa_one(make_runs: MakeRuns, depth: int) -> None:
    assert ratio_to_formula(make_runs, "abs", depth, 1.0, 1.0) == pytest.approx(1, abs=0.1)
    assert ratio_to_formula(make_runs, "abs", depth, 1.0, 2.0) > 1.15


@pytest.mark.parametrize(
    ("measure", "family"),
    [("coordinates", "linearised"), ("layer_sizes", "lm"), ("linearisation", "cnn")],
)
def test_a_measure_refuses_families_that_it_is_not_made_for(
    make_runs: MakeRuns, measure: str, family: str
) -> None:
    runs = make_runs(family=family, task="text" if family == "lm" else "digits")
    for refuse in (measurement.measured, stacked):  # before any other is measured too
        with pytest.raises(Refused, match=f"family {family}: {measure} is measured on .*sizes"):
            refuse(runs, measure)


def test_diversity_of_convolutions_is_that_of_one_stage(make_runs: MakeRuns) -> None:
    size: dict[str, Any] = {"width": 4, "depth": 32, "base_depth": 32, "batch": 2, "steps": 1}
    with pytest.raises(Refused, match=r"stages 2: diversity compares .*; give stages: 1"):
        measurement.measured(make_runs(family="resconv", **size, stages=2), "diversity")
    runs = make_runs(family="resconv", **size, stages=1)
    assert 0.2 < measurement.measured(runs, "diversity")[0]["slope_init"] < 0.8


def test_diversity_of_a_language_model_is_that_of_its_layers(make_runs: MakeRuns) -> None:
    runs = make_runs(family="lm", task="text", depth=32, base_depth=32, batch=2, steps=1)
    assert 0.2 < measurement.measured(runs, "diversity")[0]["slope_init"] < 0.8
