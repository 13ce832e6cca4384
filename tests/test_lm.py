"""The language model and its text: causal, scaled as the tables say, the same every time."""

import math
from typing import Any

import pytest
import torch
from conftest import MakeRuns, same
from fathom.networks import tasks
from fathom.networks.stack import rate, schedule, shrinkage, stack
from fathom.networks.tasks import CONTEXT, HELD_OUT, task
from fathom.spec import Refused, Run
from fathom.training.train import Curves, numerics, train
from torch import Tensor

SIZE: dict[str, Any] = {"family": "lm", "phi": "gelu", "width": 32, "base_width": 16, "depth": 3}


def models(make_runs: MakeRuns, **changes: Any) -> list[Run]:
    small = {"task": "text", "kind": "adam", "batch": 4, "log2_lr": -8}
    return make_runs(**{**SIZE, **small, **changes})


def texts(runs: int) -> tuple[Tensor, Tensor]:
    """Two windows for each of so many runs, and their targets."""
    about = task("text")
    return about.x[:2].expand(runs, 2, -1), about.y[:2].expand(runs, 2, -1)


def test_the_text_is_long_enough_and_each_targets_is_the_next_byte() -> None:
    about = task("text")
    assert about.x.shape == about.y.shape == (80253, CONTEXT)
    assert (about.inputs, int(about.x.max())) == (about.outputs, about.outputs - 1) == (127, 126)
    assert torch.equal(about.x[:, 1:], about.y[:, :-1])
    assert not torch.equal(about.x[:9, :-1], about.y[:9, :-1])


def test_the_text_is_read_in_the_same_way_every_time() -> None:
    assert torch.equal(tasks._text().x[-HELD_OUT:], task("text").x[-HELD_OUT:])


def test_another_scipy_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "docstrings", lambda: "Other words.")
    with pytest.raises(Refused, match=r"task text: .* pip install -r requirements.lock$"):
        tasks._text()


@torch.no_grad()
def test_a_token_changes_no_output_before_it_and_each_one_from_it_on(make_runs: MakeRuns) -> None:
    # the read-out and the branches as they are at initialisation, all of them at work
    nets = stack(models(make_runs, seed=[1, 2]))
    x = texts(2)[0].clone()
    before = nets(x)[0].reshape(2, 2, CONTEXT, -1)
    x[:, :, 20] = (x[:, :, 20] + 1) % 127
    changed = (nets(x)[0].reshape(2, 2, CONTEXT, -1) != before).any(-1)
    assert not changed[:, :, :20].any()
    assert changed[:, :, 20:].all()


@torch.no_grad()
def test_places_tell_equal_tokens_apart(make_runs: MakeRuns) -> None:
    outputs = stack(models(make_runs))(torch.zeros(1, 1, CONTEXT, dtype=torch.int64))[0][0]
    assert len(outputs.unique(dim=0)) == CONTEXT


@torch.no_grad()
def test_scores_are_divided_by_the_width_of_a_head(make_runs: MakeRuns) -> None:
    nets = stack(models(make_runs, depth=1, gain=1.0))
    x = texts(1)[0][:, :1]
    normed = torch.nn.functional.layer_norm
    stream = nets.apply(0, x) + nets.apply(1, torch.arange(CONTEXT).reshape(1, 1, -1))
    h = normed(stream, (32,))
    q, k, v = (nets.apply(i, h)[0].reshape(CONTEXT, 2, 16).transpose(0, 1) for i in (2, 3, 4))
    scores = q @ k.transpose(1, 2) / 16
    later = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(later, -math.inf).softmax(-1) @ v
    branch = float(nets.branch[0])
    stream = stream + branch * nets.apply(5, mixed.transpose(0, 1).reshape(1, CONTEXT, 32))
    hidden = torch.nn.functional.gelu(nets.apply(6, normed(stream, (32,))))
    stream = stream + branch * nets.apply(7, hidden)
    expected = nets.apply(8, normed(stream, (32,)))
    torch.testing.assert_close(nets(x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rules", ["mup", "depth_mup", "completep"])
def test_streams_begin_at_one_size_at_every_width(make_runs: MakeRuns, rules: str) -> None:
    sizes = []
    for width in (32, 256):
        nets = stack(models(make_runs, width=width, rules=rules, seed=[1, 2, 3, 4]))
        with torch.no_grad():
            sizes.append(float(nets(texts(4)[0])[1][-1].square().mean().sqrt()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


@torch.no_grad()
def test_streams_keep_their_size_in_depth_where_branches_are_damped_and_only_there(
    make_runs: MakeRuns,
) -> None:
    def size(rules: str, depth: int) -> float:
        nets = stack(models(make_runs, rules=rules, depth=depth, base_depth=2, seed=[1, 2]))
        return float(nets(texts(2)[0])[1][-1].square().mean().sqrt())

    grown = {name: size(name, 32) / size(name, 2) for name in ("mup", "depth_mup", "completep")}
    assert grown["mup"] > 1.8
    assert grown["depth_mup"] == pytest.approx(1, abs=0.15)
    assert grown["completep"] < 1


@pytest.mark.parametrize("phi", ["gelu", "relu"])  # in compiled kernels, and under autograd
def test_a_language_model_alone_has_the_bits_it_has_in_company(
    make_runs: MakeRuns, phi: str
) -> None:
    company = {"seed": [1, 2], "log2_lr": [-8, -6], "gain": [0.5, 1.0], "log2_lr_ends": -6}
    moves = {"schedule": "cosine", "warmup": 2, "decay": 0.1, "steps": 4}
    runs = models(make_runs, **company, **moves, phi=phi)
    together = train(runs)
    assert same(train(runs), together)
    for i, run in enumerate(runs):
        alone = Curves(together.loss[i : i + 1], together.held_out[i : i + 1], together.nets)
        assert same(train([run]), alone)


def test_a_language_model_learns_english_spelling(make_runs: MakeRuns) -> None:
    curves = train(models(make_runs, steps=80, batch=16, log2_lr=-7, depth=2))
    assert curves.loss[0, 0] == pytest.approx(math.log(127), rel=0.15)
    assert curves.held_out[0] < 3.1  # the entropy of single bytes


@pytest.mark.parametrize(
    ("optim", "shares"),
    [
        ({}, [1, 1, 1, 1]),
        ({"warmup": 2}, [1 / 2, 1, 1, 1]),
        (
            {"schedule": "cosine"},
            [1, (1 + math.sqrt(1 / 2)) / 2, 1 / 2, (1 - math.sqrt(1 / 2)) / 2],
        ),
        ({"schedule": "cosine", "warmup": 2}, [1 / 2, 1, 1, 1 / 2]),
    ],
)
def test_rates_warm_up_and_fall(
    make_runs: MakeRuns, optim: dict[str, Any], shares: list[float]
) -> None:
    run = make_runs(steps=4, **optim)[0]
    assert [schedule(run.optim, step) for step in range(4)] == pytest.approx(shares)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_step_is_that_of_torch_with_schedule_and_decay(make_runs: MakeRuns, kind: str) -> None:
    moves = {"schedule": "cosine", "warmup": 3, "decay": 0.5, "steps": 6, "batch": 16}
    run = make_runs(kind=kind, log2_lr=-6, phi="tanh", rules="sp", **moves)[0]
    nets, about = stack([run]), task(run.task)
    weights = [weight.clone().requires_grad_() for weight in nets.weights]
    peer = nets._replace(weights=weights)
    optimizer: torch.optim.Optimizer
    if kind == "adam":
        optimizer = torch.optim.AdamW(weights, lr=1.0, eps=1e-12, weight_decay=0.5)
    else:
        optimizer = torch.optim.SGD(weights, lr=1.0)
    for step, index in enumerate(about.batches(run.seed, 16, 6)):
        share = 2.0**-6 * schedule(run.optim, step)
        optimizer.param_groups[0]["lr"] = share
        loss = torch.nn.functional.cross_entropy(peer(about.x[None, index])[0][0], about.y[index])
        optimizer.zero_grad()
        loss.backward()
        if kind == "sgd":  # decoupled, as in AdamW
            with torch.no_grad():
                for weight in weights:
                    weight.mul_(1 - share * 0.5)
        optimizer.step()
    for weight, other in zip(train([run]).nets.weights, weights, strict=True):
        torch.testing.assert_close(weight, other.detach(), rtol=1e-4, atol=1e-6)


def test_ends_keep_a_rate_of_their_own(make_runs: MakeRuns) -> None:
    run = models(make_runs, log2_lr=-9, log2_lr_ends=-5, rules="mup", decay=0.5)[0]
    rates = {role: rate(run, role) for role in ("embed", "block:1", "block:2", "readout")}
    # blocks and read-out at half of it, at twice the base width
    assert rates == {"embed": 2**-5, "block:1": 2**-10, "block:2": 2**-10, "readout": 2**-6}
    assert {shrinkage(run, role) for role in ("embed", "readout")} == {2**-6}
    assert shrinkage(run, "block:1") == 2**-10


def test_under_sgd_a_decay_takes_the_same_share_at_every_size(make_runs: MakeRuns) -> None:
    sizes = {"width": [16, 64], "depth": [2, 8], "gamma_0": [0.5, 2.0]}
    rules = ["mup", "depth_mup", "ode", "ntp"]
    runs = make_runs(kind="sgd", log2_lr=-3, decay=0.5, rules=rules, **sizes)
    assert {shrinkage(run, role) for run in runs for role in ("input", "block", "readout")} == {
        2**-4
    }
    ends = models(make_runs, kind="sgd", log2_lr=-3, log2_lr_ends=-5, decay=0.5)[0]
    assert [shrinkage(ends, role) for role in ("embed", "block:1")] == [2**-6, 2**-4]
    assert numerics(runs[0]).endswith(" decay 2") and "decay" not in numerics(make_runs()[0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": "digits"}, "text and lm go together"),
        ({"family": "resmlp"}, "text and lm go together"),
        ({"width": 24}, "width 24 is not a multiple of 16"),
        ({"block_depth": 2}, "block_depth is a setting of resmlp, linearised"),
        ({"norm": "layer"}, "norm is a setting of resmlp, linearised"),
        ({"warmup": 4}, "warmup 4 has to be below steps 4"),
        ({"schedule": "cosin"}, "did you mean cosine?"),
        ({"log2_lr_ends": 0.001}, "a rate of 0.001 is about -10"),
        ({"decay": -1.0}, "a finite number, at least 0"),
    ],
)
def test_what_does_not_go_with_a_language_model_is_refused(
    make_runs: MakeRuns, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused, match=says.replace("?", r"\?")):
        models(make_runs, **changes)
