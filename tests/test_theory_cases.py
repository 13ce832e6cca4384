"""Entries of limit that name a solver, and the networks whose limits they are."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import MakeRuns
from fathom import law, measurement, store, theory
from fathom.networks.stack import stack
from fathom.networks.tasks import task
from fathom.networks.theory_inputs import solver_inputs
from fathom.spec import Limit, Refused, Training, cases, grid
from fathom.spec.limits import SOLVED_BY
from fathom.theory.cases import COLUMNS, PLACES, rows

PARAMS = store.params()
PAIR: dict[str, Any] = {"log2_lr": -4.0, "task": "pair"}
KX = {"kx": np.array([[1, 0.3], [0.3, 1]]), "y": np.array([1.0, -1.0]), "p": np.full(2, 0.5)}
WHOLE = {"solve": "Training", "phi": "linear", "lazy": False, "train_ends": True, "sites": 4000,
         "responses": True, "eta_0": 0.08, "gamma_0": 1.0, **KX}  # fmt: skip


def test_kernels_are_those_of_the_spec_of_the_paper() -> None:
    asked = cases({"solve": "kernels", "cases": {"phi": "sqrt2_relu", "depth": [2, 4, 64]}})
    table = theory.table((one.row(), solver_inputs(one)) for one in asked)
    assert list(table) == ["phi", "depth", *COLUMNS["Kernels"]]
    errors = table.groupby("depth")["off"].first()
    assert errors.to_numpy() == pytest.approx([0.936, 0.347, 2.14e-3], rel=2e-3)
    right = table[(table["depth"] == 64) & np.isclose(table["angle"], np.pi / 4)]
    assert right["ntk_limit"].item() == pytest.approx(4.747170, rel=1e-6)


def test_one_step_is_that_of_the_spec_of_the_paper() -> None:
    asked = cases({"solve": "one_step", "cases": {"depth": [8, 64], "strength": 0.5, "seed": 2}})
    table = theory.table((one.row(), solver_inputs(one)) for one in asked)
    assert list(table) == ["depth", "strength", "train_ends", "seed", *COLUMNS["OneStep"]]
    last = table[table["place"] == 1]
    assert last["feature"].to_numpy() == pytest.approx([13.95, 17.98], rel=1e-3)
    assert last["feature_limit"].to_numpy() == pytest.approx(18.728, rel=1e-4)
    assert table["depth"].value_counts().to_dict() == {8: 9, 64: 33}


def test_training_is_that_of_the_spec_of_the_paper() -> None:
    found = rows(
        ({"case": steps}, {**WHOLE, "depths": (8,), "steps": steps}) for steps in (7, 1, 5)
    )
    assert [row["case"] for row in found] == [7, 1, 5]
    assert [row["loss_full_limit"] for row in found] == pytest.approx(
        [0.00256, 0.313994, 0.021409], rel=1e-3
    )
    assert [row["feature_last_limit"] for row in found][:2] == pytest.approx(
        [3.54966, 2.60148], rel=1e-4
    )
    (less,) = rows([({}, {**WHOLE, "depths": (8,), "steps": 5, "responses": False})])
    assert less["loss_full_limit"] == pytest.approx(0.0770, rel=1e-3)
    assert set(less) == set(COLUMNS["Training"])


def test_lazy_training_is_that_of_small_gamma_0() -> None:
    given = {**WHOLE, "depths": (8,), "steps": 4, "gamma_0": 0.01}
    found = rows([({}, given), ({}, {**given, "lazy": True})])
    assert found[0]["loss_full_limit"] == pytest.approx(found[1]["loss_full_limit"], rel=1e-4)
    for kernel in ("feature_half_limit", "gradient_input_limit"):
        assert found[0][kernel] == pytest.approx(found[1][kernel], rel=1e-3)
    assert found[1]["feature_last_limit"] != found[1]["feature_half_limit"]


def test_infinite_depth_is_approached_as_one_over_depth() -> None:
    found = rows(
        ({"depth": depth}, {**WHOLE, "depths": (depth,), "steps": 2}) for depth in (32, 64)
    )
    deep = rows([({}, {**WHOLE, "depths": (16, 32, 64), "steps": 2})])
    assert found[0]["off"] / found[1]["off"] == pytest.approx(2, rel=0.05)
    assert deep[0]["off"] < 1e-12


def trained_by_hand(one: Training, width: int, steps: int) -> tuple[np.ndarray, list[float]]:
    """Outputs (samples,) of the paper's template with weights of variance one, its function at the
    start taken off, and the mean squares of gamma_0 width df/dh on the first sample, layer by
    layer; the weights are those of the run."""
    weights = [weight[0].double().numpy().T for weight in stack([one.run(width)]).weights]
    samples, depth, root = 2, one.depth, np.sqrt(width)
    x, y = task("pair").x[:2].double().numpy() * np.sqrt(2), np.array([1.0, -1.0])
    w_in, blocks = weights[0], [part * root / np.sqrt(2) for part in weights[1:-1]]
    w_out, scale = weights[-1][0] * width, 1 / np.sqrt(depth * width)
    read, rate = 1 / (one.gamma_0 * width), 2**one.log2_lr * one.gamma_0**2 * width
    start = outputs = np.zeros(samples)
    along: list[np.ndarray] = []
    for step in range(steps + 1):
        h = [w_in @ x.T / np.sqrt(2)]
        for block in blocks:
            h.append(h[-1] + scale * block @ np.tanh(h[-1]))
        raw = read * w_out @ np.tanh(h[-1])
        start = start if step else raw
        outputs = raw - start
        pull = rate * (y - outputs) / 2
        g, changes = read * w_out[:, None] * (1 - np.tanh(h[-1]) ** 2), []
        along = [g]
        for block, stream in zip(blocks[::-1], h[-2::-1], strict=True):
            changes.append(scale * (pull * g) @ np.tanh(stream).T)
            g = g + (1 - np.tanh(stream) ** 2) * (scale * block.T @ g)
            along.append(g)
        w_out = w_out + read * np.tanh(h[-1]) @ pull
        w_in = w_in + (pull * g) @ x / np.sqrt(2)
        blocks = [block + more for block, more in zip(blocks, changes[::-1], strict=True)]
    squares = [float((one[:, 0] ** 2).mean()) / read**2 for one in along[::-1]]
    return outputs, squares


def test_networks_of_an_entry_are_trained_in_the_papers_template() -> None:
    one = Training(phi="tanh", depth=3, gamma_0=1.5, steps=3, **{**PAIR, "log2_lr": -2.0})
    (found,) = measurement.measured([one.run(32)], "trajectory")
    expected, squares = trained_by_hand(one, 32, 3)
    gradients = [found[f"gradient_{place}"] for place in PLACES]
    assert gradients == pytest.approx([squares[i] for i in (0, 0, 1, 2, 3)], rel=1e-4)
    assert [found["output_first"], found["output_last"]] == pytest.approx(expected, rel=1e-4)
    assert found["loss_full"] == pytest.approx(
        ((np.array([1, -1]) - expected) ** 2).mean() / 2, rel=1e-4
    )
    run = one.run(32)
    for change in ({"gamma_0": 1.0}, {"init_gain": 1.0, "gain": 1.0}):
        other = run.model_copy(update={"net": run.net.model_copy(update=change)})
        (far,) = measurement.measured([other], "trajectory")
        assert abs(far["feature_last"] / found["feature_last"] - 1) > 0.02


@pytest.mark.parametrize("name", ["depthwise_training", "depthwise_lazy", "depthwise_first_step"])
def test_networks_of_probe_are_those_whose_limit_is_solved(name: str) -> None:
    there = name.replace("first", "one")
    runs = grid(PARAMS["probe"][there]["runs"])
    widths, seeds = {run.net.width for run in runs}, {run.seed for run in runs}
    asked = [one for one in cases(PARAMS["limit"][name]) if isinstance(one, Training)]
    limits = {one.run(n, seed).key for one in asked for n in widths for seed in seeds}
    assert {run.key for run in runs} <= limits


@pytest.mark.parametrize("depth", [2, 16])
def test_sampled_networks_follow_the_theory_of_their_depth(depth: int) -> None:
    one = Training(depth=depth, steps=4, **PAIR)
    runs = [one.run(256, seed) for seed in range(12)]
    found = [measurement.measured([run], "trajectory")[0] for run in runs]
    (limit,) = rows([({}, solver_inputs(one))])
    for name in ("output_first", "output_last", "feature_last", "gradient_input"):
        here = law.interval([row[name] for row in found])
        assert abs(here.value - limit[f"{name}_limit"]) < 1.5 * (here.high - here.low)
    (less,) = rows([({}, solver_inputs(one.model_copy(update={"responses": False})))])
    first = law.interval([row["output_first"] for row in found])
    assert first.low > less["output_first_limit"]


def test_a_training_is_looked_at_as_it_goes() -> None:
    runs = [Training(depth=2, steps=n, **PAIR).run(16, seed) for n in (3, 1) for seed in (1, 2)]
    alone = [measurement.measured([run], "trajectory")[0] for run in runs]
    together = measurement.measured(runs, "trajectory")
    assert [row["loss_full"] for row in together] == pytest.approx(
        [row["loss_full"] for row in alone]
    )
    assert together[0]["loss_full"] < together[2]["loss_full"] < 0.5


def test_above_the_edge_of_the_fixed_kernel_the_loss_rises_and_falls_or_diverges() -> None:
    edge: dict[str, Any] = {"depth": 8, "steps": 32, "task": "unit", "gamma_0": 0.1}
    below, above = (Training(log2_lr=rate, **edge) for rate in (-2.25, -1.25))
    limits = [rows([({}, solver_inputs(one))])[0] for one in (below, above)]
    found = [measurement.measured([one.run(128)], "trajectory")[0] for one in (below, above)]
    for row, end in ((found, ""), (limits, "_limit")):
        assert row[0][f"loss_largest{end}"] == 0.5
        assert row[1][f"loss_largest{end}"] > 4
        assert row[1][f"loss_full{end}"] < 1e-9
    (gone,) = measurement.measured([Training(log2_lr=0, **edge).run(128)], "trajectory")
    assert gone["loss_full"] == gone["loss_largest"] == np.inf


@pytest.mark.parametrize(
    ("change", "says"),
    [({"batch": 1}, "batch 1: trajectory is measured on all examples at once"),
     ({"task": "gaussian"}, "task gaussian has no examples to train on")],
)  # fmt: skip
def test_trajectories_are_measured_on_all_examples(change: dict[str, Any], says: str) -> None:
    run = Training(depth=2, steps=1, **PAIR).run(16)
    if "task" in change:
        other = run.model_copy(update=change)
    else:
        other = run.model_copy(update={"optim": run.optim.model_copy(update=change)})
    with pytest.raises(Refused, match=says):
        measurement.measured([other], "trajectory")


def test_an_entry_that_names_no_solver_is_a_grid_of_limits() -> None:
    found = cases({"rules": "mup", "depth": 2, "log2_lr": 0, "steps": 1, "task": "unit", "seed": 1})
    assert [type(one) for one in found] == [Limit]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"solve": "kernel", "cases": {}}, "'kernel' is not one of kernels, one_step, training"),
        ({"solve": "kernels"}, "cases is missing"),
        ({"solve": "kernels", "runs": {}}, "runs is not one of solve, cases"),
        ({"solve": "kernels", "cases": {"phi": "sine", "depth": 2}}, "'sine' is not one of linear"),
        ({"solve": "kernels", "cases": {"phi": "erf"}}, "depth is missing"),
        ({"solve": "kernels", "cases": {"phi": "erf", "depth": [2, 2]}}, "named twice"),
        ({"solve": "one_step", "cases": {"depth": 2, "strength": 0}}, "0 is not allowed; strength"),
        ({"phi": "relu"}, "phi relu is solved where training is lazy"),
        ({"phi": "tanh", "train_ends": False}, "train_ends false is solved for phi linear"),
        ({"depth": 4000}, "make a problem of 16000 and 10000 are allowed"),
        ({"depth": 6, "extrapolate": True}, "depth 6 is not a multiple of 4"),
        ({"task": "digits"}, "'digits' is not one of unit, pair"),
        ({"seed": -1}, "-1 is not allowed; seed is a whole number, which numbers the cases"),
    ],
)
def test_entries_are_refused_in_a_sentence(entry: dict[str, Any], says: str) -> None:
    whole = {"depth": 4, "log2_lr": 0, "steps": 1, "task": "pair"}
    given = entry if "solve" in entry else {"solve": "training", "cases": {**whole, **entry}}
    with pytest.raises(Refused) as refused:
        cases(given, "params.yaml limit.test")
    assert str(refused.value).startswith("params.yaml limit.test")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_dictionary_of_columns_explains_what_solvers_make() -> None:
    said = (store.ROOT / "artifacts" / "README.md").read_text()
    assert {one.__name__ for one in SOLVED_BY.values()} == set(COLUMNS)
    for name in {name for made in COLUMNS.values() for name in made if "_limit" not in name}:
        assert f"`{name}`" in said, name


def test_convolutions_are_trained_on_the_same_few_images(make_runs: MakeRuns) -> None:
    entry: dict[str, Any] = {"family": "resconv", "width": 4, "depth": 3, "stages": 1}
    runs = make_runs(**entry, base_width=4, base_depth=3, batch=4, steps=[1, 6], seed=[1, 2])
    found = measurement.measured(runs, "trajectory")
    by_steps = {run.optim.steps: row for run, row in zip(runs, found, strict=True)}
    assert by_steps[6]["loss_full"] < by_steps[1]["loss_full"] < np.log(10)
    said = [{"log2_lr": run.optim.log2_lr, "steps": run.optim.steps} for run in runs]
    networks = pd.DataFrame([one | row for one, row in zip(said, found, strict=True)])
    limit = law.proxy(networks, ["output_first"]).set_index("steps")["output_first_limit"]
    assert limit[6] == pytest.approx(networks[networks.steps == 6]["output_first"].mean())
