from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.networks.parametrization import PARAMETRIZATIONS, Parametrization, Power, Rule
from fathom.networks.stack import stack
from fathom.networks.tasks import HELD_OUT, task
from fathom.phi import Array
from fathom.spec import RULES, Run
from fathom.training import compiled
from fathom.training.train import train
from torch import Tensor


def test_a_power_is_of_size_over_base_size(make_runs: MakeRuns) -> None:
    run = make_runs(width=64, base_width=16, depth=18, base_depth=2)[0]
    assert Power(-0.5, 2).at(run) == 0.5 * 81


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_all_parametrizations_coincide_at_base_size(make_runs: MakeRuns, kind: str) -> None:
    for phi in ("relu", "tanh"):
        runs = make_runs(rules=[*RULES, "alpha(0.7, 0.2)"], kind=kind, log2_lr=-6, phi=phi)
        assert len({train([run]).loss.tobytes() for run in runs}) == 1


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_away_from_base_size_only_namesakes_coincide(make_runs: MakeRuns, kind: str) -> None:
    for phi in ("relu", "tanh"):
        size = {"phi": phi, "base_width": 4, "base_depth": 1}
        last = {
            name: tuple(
                round(float(train([run]).loss[0, -1]), 6)
                for run in make_runs(rules=name, kind=kind, log2_lr=-6, block_depth=[1, 2], **size)
            )
            for name in RULES
        }
        assert last.pop("completep") == last["ode"]
        assert len(set(last.values())) == len(RULES) - 1


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
    monkeypatch.setattr("fathom.networks.stack.EPSILON", 1e-3)
    chain = {"family": "mlp", "rules": "mup", "depth": 3, "width": 32, "base_width": 16, "steps": 5}
    run = make_runs(**chain, kind=kind, log2_lr=log2_lr)[0]
    groups: list[dict[str, Any]] = [{"lr": 2.0**log2_lr * factor} for factor in factors]
    if kind == "adam":
        for group, eps in zip(groups, (5e-4, 5e-4, 5e-4, 1e-3), strict=True):
            group["eps"] = eps
    expected = pytest.approx(torch_losses(run, groups), rel=1e-5)
    for covered in (True, False):
        monkeypatch.setattr(compiled, "covers", lambda run, covered=covered: covered)
        found = train([run])
        assert [*found.loss[0], *found.held_out] == expected


def shifted(power: Power, theta: Power, times: int) -> Power:
    return Power(power.width + times * theta.width, power.depth + times * theta.depth)


def moved(before: Parametrization, role: str, theta: Power, part: str) -> Parametrization:
    """A factor theta taken from a role's init into its multiplier, with the rates that make up
    for it; `part` names one field that is left as it was, or nothing."""
    times = {"mult": 1, "init": -1, "sgd": -2, "adam": -1, "eps": 1, "decay": 1} | {part: 0}
    rule = before.rules[role]._asdict()
    after = Rule(**{name: shifted(power, theta, times[name]) for name, power in rule.items()})
    return replace(before, rules={**before.rules, role: after})


def three_losses(make_runs: MakeRuns, kind: str, **changes: object) -> Array:
    """The losses before and after each of three steps, at twice the base width and depth."""
    size = {"width": 32, "depth": 4, "steps": 4, "seed": [1, 2]}
    rate = {"sgd": {"log2_lr": -3}, "adam": {"log2_lr": -6, "decay": 2.0}}[kind]
    return train(make_runs(**size, **rate, kind=kind, **changes)).loss


@pytest.fixture
def large_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    # at its usual size epsilon is negligible, and a wrong power of it would go unseen
    monkeypatch.setattr("fathom.networks.stack.EPSILON", 1e-2)


@pytest.mark.usefixtures("large_epsilon")
@pytest.mark.parametrize("theta", [Power(1, 0), Power(0, 0.5), Power(-0.5, 1)])
@pytest.mark.parametrize("role", ["input", "block", "readout"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_factor_moved_from_init_to_multiplier_with_its_rate_leaves_training_as_it_was(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, kind: str, role: str, theta: Power
) -> None:
    before, old = three_losses(make_runs, kind), PARAMETRIZATIONS["depth_mup"]
    monkeypatch.setitem(PARAMETRIZATIONS, "depth_mup", moved(old, role, theta, ""))
    np.testing.assert_allclose(three_losses(make_runs, kind), before, rtol=1e-4)


@pytest.mark.usefixtures("large_epsilon")
@pytest.mark.parametrize(
    ("kind", "part"),
    [("sgd", "sgd"), ("adam", "adam"), ("adam", "eps"), ("adam", "decay")],
)
@pytest.mark.parametrize("role", ["input", "block", "readout"])
def test_a_factor_moved_without_its_rate_changes_training(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, kind: str, part: str, role: str
) -> None:
    before, old = three_losses(make_runs, kind), PARAMETRIZATIONS["depth_mup"]
    monkeypatch.setitem(PARAMETRIZATIONS, "depth_mup", moved(old, role, Power(1, 0), part))
    after = three_losses(make_runs, kind)
    np.testing.assert_allclose(after[:, 0], before[:, 0], rtol=1e-4)
    assert (np.abs(after / before - 1).max(axis=1) > 1e-3).all()


# Depthwise transfer, Table 1, column mu-P + 1/sqrt(L): every variance 1, SGD rates times N.
BETA_FORM = Parametrization(
    "depth_mup",
    Power(),
    {
        "input": Rule(sgd=Power(1)),
        "block": Rule(mult=Power(-0.5, -0.5), sgd=Power(1)),
        "readout": Rule(mult=Power(-1), sgd=Power(1)),
    },
)
# Section 3.2 there, "fully absorbed": variance 1/(L n), and the block's rate divided by L.
ABSORBED = replace(
    PARAMETRIZATIONS["am_mup"],
    rules={
        **PARAMETRIZATIONS["am_mup"].rules,
        "block": Rule(init=Power(-0.5, -0.5), sgd=Power(0, -1)),
    },
)


@pytest.mark.parametrize("form", [BETA_FORM, ABSORBED])
def test_forms_of_depth_mup_train_alike(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, form: Parametrization
) -> None:
    before = three_losses(make_runs, "sgd", order="pre")
    monkeypatch.setitem(PARAMETRIZATIONS, "depth_mup", form)
    np.testing.assert_allclose(three_losses(make_runs, "sgd", order="pre"), before, rtol=1e-4)


def test_the_variance_form_trains_otherwise_without_the_rate_divided_by_depth(
    make_runs: MakeRuns,
) -> None:
    before = three_losses(make_runs, "sgd", order="pre")
    after = three_losses(make_runs, "sgd", order="pre", rules="am_mup")
    np.testing.assert_allclose(after[:, 0], before[:, 0], rtol=1e-4)
    assert (np.abs(after[:, 1:] / before[:, 1:] - 1) > 1e-3).all()
