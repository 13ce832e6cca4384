import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.net.data import HELD_OUT, task
from fathom.net.plan import stacked
from fathom.net.stack import losses, stack
from fathom.net.train import NUMERICS, Curves, numerics, summary, train
from fathom.spec import RULES, TASKS, Run
from torch import Tensor

# loss_mean of twelve steps, well below the best rate. When these move, bump NUMERICS in
# train.py: otherwise rows that were trained before would be mixed with rows of today.
GOLDEN: dict[str, float] = {
    "mlp sgd digits": 2.37574933,
    "mlp sgd digits_noisy": 2.36681010,
    "mlp sgd digits_random": 2.39955099,
    "mlp sgd digits_sum": 2.42017573,
    "mlp sgd digits_mse": 0.85375801,
    "mlp adam digits": 2.32491171,
    "mlp adam digits_noisy": 2.33221936,
    "mlp adam digits_random": 2.39422423,
    "mlp adam digits_sum": 2.41076674,
    "mlp adam digits_mse": 1.13788899,
    "resmlp sgd digits": 2.16664021,
    "resmlp sgd digits_noisy": 2.32759434,
    "resmlp sgd digits_random": 2.50822469,
    "resmlp sgd digits_sum": 2.51158824,
    "resmlp sgd digits_mse": 1.60211655,
    "resmlp adam digits": 2.13013405,
    "resmlp adam digits_noisy": 2.27946756,
    "resmlp adam digits_random": 2.50264225,
    "resmlp adam digits_sum": 2.50179841,
    "resmlp adam digits_mse": 2.12495567,
}


def same(first: Curves, second: Curves) -> bool:
    """Whether two trainings gave the same bits, values that are not finite included."""
    return np.array_equal(first.loss, second.loss, equal_nan=True) and np.array_equal(
        first.held_out, second.held_out, equal_nan=True
    )


def alone(curves: Curves, i: int) -> Curves:
    return Curves(curves.loss[i : i + 1], curves.held_out[i : i + 1], curves.nets)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_run_trained_twice_has_the_same_bits(make_runs: MakeRuns, kind: str) -> None:
    runs = make_runs(kind=kind, seed=[1, 2])
    assert same(train(runs), train(runs))


def test_stopping_early_changes_no_loss_before(make_runs: MakeRuns) -> None:
    whole, part = train(make_runs(steps=6)), train(make_runs(steps=6), steps=2)
    assert (part.loss == whole.loss[:, :2]).all()


COMPANY: dict[str, Any] = {"seed": [1, 2], "log2_lr": [-6, -3], "rules": ["sp", "depth_mup", "ntp"]}


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("width", [16, 48, 64, 144])
@pytest.mark.parametrize(
    "net",
    [
        {"family": "mlp"},
        {"phi": "abs", "center": True},
        {"phi": "relu", "norm": "layer", "center": True},
        {"phi": "tanh", "order": "pre", "train_ends": False},
        {"block_depth": 2, "norm": "layer", "order": "pre"},
    ],
)
def test_a_run_alone_has_the_bits_it_has_in_company(
    make_runs: MakeRuns, net: dict[str, Any], width: int, kind: str
) -> None:
    runs = make_runs(**net, **COMPANY, width=width, base_width=8, depth=3, batch=32, kind=kind)
    together = train(runs)
    assert len({float(loss) for loss in together.loss[:, -1]}) > len(runs) / 2
    for i, run in enumerate(runs):
        assert same(train([run]), alone(together, i))


@pytest.mark.parametrize(("width", "batch"), [(24, 32), (32, 24), (17, 17)])
def test_sizes_that_are_no_multiple_of_16_are_trained_one_by_one(
    make_runs: MakeRuns, width: int, batch: int
) -> None:
    assert [len(one) for one in stacked(make_runs(width=width, batch=batch, seed=[1, 2]))] == [1, 1]
    assert [len(one) for one in stacked(make_runs(width=32, batch=32, seed=[1, 2]))] == [2]


def test_every_run_is_in_one_stack_of_its_shape(make_runs: MakeRuns) -> None:
    runs = make_runs(depth=[1, 2], seed={"range": [1, 40]}, rules=["mup", "sp"])
    stacks = stacked(runs)
    assert sorted(run.key for one in stacks for run in one) == sorted(run.key for run in runs)
    assert all(len({run.net.depth for run in one}) == 1 for one in stacks)
    assert max(map(len, stacks)) <= 32


@pytest.mark.parametrize(("kind", "log2_lr"), [("sgd", 40), ("adam", 100)])
def test_a_huge_rate_is_a_row_of_inf_and_leaves_its_company_alone(
    make_runs: MakeRuns, kind: str, log2_lr: int
) -> None:
    runs = make_runs(kind=kind, log2_lr=[-6, log2_lr, -5], batch=32)
    together = train(runs)
    rows = summary(together)
    assert set(rows[1].values()) == {math.inf}
    for i in (0, 2):
        assert all(map(math.isfinite, rows[i].values()))
        assert same(train([runs[i]]), alone(together, i))


def test_one_seed_starts_all_rates_and_rules_from_the_same_weights(make_runs: MakeRuns) -> None:
    for weight in stack(make_runs(rules=list(RULES), log2_lr=[-4, 0], seed=1)).weights:
        assert (weight == weight[0]).all()


def test_another_seed_starts_from_other_weights_and_batches(make_runs: MakeRuns) -> None:
    for weight in stack(make_runs(seed=[1, 2])).weights:
        assert (weight[0] != weight[1]).all()
    assert (task("digits").batches(1, 16, 4) != task("digits").batches(2, 16, 4)).any()


def test_a_block_is_drawn_alike_at_every_depth(make_runs: MakeRuns) -> None:
    shallow, deep = (stack(make_runs(rules="mup", depth=depth)).weights for depth in (2, 5))
    assert all(torch.equal(a, b) for a, b in zip(shallow[:3], deep[:3], strict=True))
    assert torch.equal(shallow[-1], deep[-1])
    assert not torch.equal(deep[1], deep[2])


def test_batches_are_the_same_for_any_number_of_steps() -> None:
    few, many = (task("digits").batches(1, 32, steps) for steps in (3, 200))
    assert torch.equal(few, many[:3])


def test_batches_are_passes_over_what_is_not_held_out() -> None:
    order = task("digits").batches(1, 1, 2 * (1797 - HELD_OUT)).flatten()
    for one in order.chunk(2):
        assert sorted(one.tolist()) == list(range(1797 - HELD_OUT))
    assert not torch.equal(*order.chunk(2))


def test_losses_are_those_of_torch() -> None:
    outputs = torch.randn(2, 8, 10, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(16).reshape(2, 8) % 10
    mean = [torch.nn.functional.cross_entropy(o, y) for o, y in zip(outputs, classes, strict=True)]
    torch.testing.assert_close(losses(outputs, classes), torch.stack(mean))
    squared = (outputs**2).sum(-1).mean(-1) / 2
    torch.testing.assert_close(losses(outputs, torch.zeros(2, 8, 10)), squared)


def torch_losses(run: Run, groups: list[dict[str, Any]]) -> list[float]:
    """The losses of a chain trained by torch.optim with settings of its own per layer, and
    the loss on the examples held out in the end."""
    weights = [weight[0].clone().requires_grad_() for weight in stack([run]).weights]
    about, found = task(run.task), []
    settings = [{"params": [w], **group} for w, group in zip(weights, groups, strict=True)]
    optim = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[run.optim.kind](settings)
    batches = about.batches(run.seed, run.optim.batch, run.optim.steps)
    for index in [*batches, torch.arange(len(about.x) - HELD_OUT, len(about.x))]:
        h: Tensor = about.x[index] @ weights[0]
        for weight in weights[1:]:
            h = torch.relu(h) @ weight
        loss = torch.nn.functional.cross_entropy(h, about.y[index])
        found.append(loss.item())
        optim.zero_grad()
        loss.backward()
        optim.step()
    return found


@pytest.mark.parametrize(
    ("kind", "log2_lr", "factors"), [("sgd", -3, (2, 1, 1, 0.5)), ("adam", -6, (1, 0.5, 0.5, 0.5))]
)
def test_the_optimizers_are_those_of_torch_with_a_rate_for_every_role(
    make_runs: MakeRuns,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    log2_lr: int,
    factors: tuple[float, ...],
) -> None:
    # an epsilon that matters, since its usual size would hide where it is added
    monkeypatch.setattr("fathom.net.stack.EPSILON", 1e-3)
    chain = {"family": "mlp", "rules": "mup", "depth": 3, "width": 32, "base_width": 16, "steps": 5}
    run = make_runs(**chain, kind=kind, log2_lr=log2_lr)[0]
    groups: list[dict[str, Any]] = [{"lr": 2.0**log2_lr * factor} for factor in factors]
    if kind == "adam":
        for group, eps in zip(groups, (5e-4, 5e-4, 5e-4, 1e-3), strict=True):
            group["eps"] = eps
    found = train([run])
    assert [*found.loss[0], *found.held_out] == pytest.approx(torch_losses(run, groups), rel=1e-5)


@pytest.mark.parametrize("family", ["mlp", "resmlp"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("ends", [True, False])
def test_ends_move_only_where_they_are_trained(
    make_runs: MakeRuns, family: str, kind: str, ends: bool
) -> None:
    runs = make_runs(family=family, depth=3, kind=kind, train_ends=ends)
    before, after = stack(runs).weights, train(runs).nets.weights
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert moved == [ends, *[True] * (len(moved) - 2), ends]


def test_the_loss_falls_on_clean_digits(make_runs: MakeRuns) -> None:
    row = summary(train(make_runs(kind="adam", log2_lr=-7, steps=60, batch=32)))[0]
    assert row["loss_late"] < 0.6 * row["loss_early"]
    assert row["loss_held_out"] < 0.6 * row["loss_early"]


def test_a_summary_is_of_all_steps_and_of_the_first_and_last_fifth(make_runs: MakeRuns) -> None:
    nets = stack(make_runs())
    curve = np.arange(20.0)[None]
    row = summary(Curves(curve, np.array([2.5]), nets))[0]
    expected = {"loss_mean": 9.5, "loss_early": 1.5, "loss_late": 17.5, "loss_held_out": 2.5}
    assert row == pytest.approx(expected)
    row = summary(Curves(curve[:, :3], np.array([2.5]), nets))[0]
    assert (row["loss_early"], row["loss_late"]) == (0.0, 2.0)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_one_value_that_is_not_finite_makes_the_whole_row_inf(
    make_runs: MakeRuns, bad: float
) -> None:
    nets, curve = stack(make_runs()), np.array([[1.0, bad, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    rows = summary(Curves(curve, np.array([1.0, bad, 1.0]), nets))
    assert [set(row.values()) for row in rows] == [{math.inf}, {math.inf}, {1.0}]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("family", ["mlp", "resmlp"])
def test_losses_are_golden(make_runs: MakeRuns, family: str, kind: str) -> None:
    size = {"width": 32, "depth": 4, "base_depth": 2, "steps": 12, "batch": 32}
    rate = {"sgd": -6, "adam": -9}[kind]
    net = {"mlp": {"init_gain": 2.0}, "resmlp": {"center": True}}[family] | {"family": family}
    runs = make_runs(**size, **net, kind=kind, log2_lr=rate, task=list(TASKS[:-1]))
    found = {f"{family} {kind} {run.task}": summary(train([run]))[0]["loss_mean"] for run in runs}
    assert found == pytest.approx({name: GOLDEN[name] for name in found}, rel=1e-5)


def test_numerics_name_what_a_runs_numbers_depend_on(make_runs: MakeRuns) -> None:
    said = " ".join(f"{part} {NUMERICS[part]}" for part in ("resmlp", "adam", "digits"))
    assert numerics(make_runs(kind="adam", task="digits_sum")[0]) == said
