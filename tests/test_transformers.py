"""The transformer's hand-written passes are those that autograd derives."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.networks.parametrization import PARAMETRIZATIONS
from fathom.networks.stack import stack
from fathom.networks.tasks import task
from fathom.spec import Run
from fathom.training import compiled
from fathom.training.kernels import transformer
from fathom.training.kernels.attention import attend
from fathom.training.kernels.transformer_buffers import TransformerWeights
from fathom.training.train import summary, train
from test_kernels import CROOKED, apart, by_autograd, distance

ODD: dict[str, Any] = {"family": "lm", "phi": "gelu", "task": "text", "rules": "ntp", "gain": 0.7}
SIZE: dict[str, Any] = {"width": 32, "base_width": 16, "depth": 3, "base_depth": 2, "batch": 2}


@pytest.fixture(autouse=True)
def crooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARAMETRIZATIONS, "ntp", CROOKED)
    # an epsilon that matters: its usual size would hide where it is added
    monkeypatch.setattr("fathom.networks.stack.EPSILON", 1e-3)


def odd(make_runs: MakeRuns, **changes: Any) -> list[Run]:
    """Transformers away from their base, no factor of which stands for another."""
    return make_runs(**{**ODD, **SIZE, "init_gain": 0.8, "log2_lr": -6, **changes})


VISION: dict[str, Any] = {"family": "vit", "task": "digits", "patch": 2, "batch": 6}


MOVES: list[dict[str, Any]] = [
    {},
    {"kind": "sgd", "log2_lr": -2},
    {"schedule": "cosine", "warmup": 3, "decay": 0.3, "log2_lr_ends": -7},
    {"kind": "sgd", "log2_lr": -2, "schedule": "cosine", "decay": 0.3},
    {"width": 64, "depth": 1, "batch": 1},
    {"width": 16, "batch": 3},
    {"placement": "post"},
    {"placement": "none"},
    {"parallel": True, "layer_scale": 0.3},
    VISION,
    {**VISION, "kind": "sgd", "log2_lr": -2},
    {**VISION, "schedule": "cosine", "warmup": 3, "decay": 0.3, "log2_lr_ends": -7},
    *({**VISION, "placement": one, "layer_scale": 0.3} for one in ("pre", "post", "none")),
    *({**VISION, "placement": one, "parallel": True} for one in ("pre", "post", "none")),
    {**VISION, "kind": "sgd", "log2_lr": -2, "layer_scale": 1.3, "decay": 0.3},
]
GRADIENTS: list[dict[str, Any]] = [
    {},
    VISION,
    {**VISION, "placement": "post"},
    {**VISION, "placement": "post", "parallel": True, "layer_scale": 0.3},
    {**VISION, "placement": "none"},
]


@pytest.mark.parametrize("moves", MOVES)
def test_a_dozen_steps_in_compiled_loops_are_those_of_autograd(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, moves: dict[str, Any]
) -> None:
    moves = {"kind": "adam", "steps": 12, **moves}
    run, other = (odd(make_runs, **{**moves, "gain": gain})[0] for gain in (0.7, 0.701))
    assert compiled.covers(run)
    assert distance(train([run]), by_autograd(run, monkeypatch)) < 1e-4
    assert distance(train([run]), by_autograd(other, monkeypatch)) > 1e-4


@pytest.mark.parametrize("moves", GRADIENTS)
def test_a_gradient_is_that_of_autograd_to_within_rounding(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, moves: dict[str, Any]
) -> None:
    # one step at a rate beside which the weights it starts from are nothing
    for run in odd(make_runs, **{**moves, "kind": "sgd"}, steps=1, log2_lr=14, seed=[1, 2]):
        assert apart(train([run]), by_autograd(run, monkeypatch)) < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"phi": "relu"}, {"phi": "tanh"}, {"train_ends": False}, {"affine": True}, {"bias": True},
        {"dropout": 0.1}, {"kind": "sgd", "momentum": 0.9}, {**VISION, "task": "digits_mse"},
    ],
)  # fmt: skip
def test_what_the_loops_have_not_is_left_to_autograd(
    make_runs: MakeRuns, change: dict[str, Any]
) -> None:
    assert compiled.covers(odd(make_runs)[0]) and compiled.covers(odd(make_runs, **VISION)[0])
    assert not compiled.covers(odd(make_runs, **change)[0])
    assert not compiled.covers(odd(make_runs, **{**VISION, **change})[0])


def test_a_place_of_an_image_sees_every_other(make_runs: MakeRuns) -> None:
    session = compiled.TransformerSession(stack(odd(make_runs, **VISION)), 0)
    session.buffers.qkv[0] = 0.0
    session.buffers.qkv[0][:, 64:] = np.arange(96)[:, None] % 16
    attend(session.buffers, 0, False)
    np.testing.assert_allclose(session.buffers.mixed[0], 7.5, atol=1e-5)


def test_half_an_image_is_patches_of_its_own(make_runs: MakeRuns) -> None:
    session = compiled.TransformerSession(stack(odd(make_runs, **VISION)), 0)
    order = torch.arange(6)[None]
    _, patches, _ = session.batches(order)
    image = task("digits").x[3].reshape(8, 8)
    np.testing.assert_array_equal(patches[0, 3 * 16 + 4], image[2:4, :2].flatten())


def test_a_token_changes_no_output_before_it_and_each_one_from_it_on(make_runs: MakeRuns) -> None:
    session = compiled.TransformerSession(stack(odd(make_runs)), 0)
    x, outputs = task("text").x[:2].numpy().copy(), []
    for token in (3, 4):
        x[:, 20] = token
        tokens, patches = x.reshape(1, -1), np.empty((1, 0, 0), np.float32)
        transformer.losses(
            session.net, session.weights, session.buffers,
            tokens, patches, np.zeros_like(tokens), np.empty(1),
        )  # fmt: skip
        outputs.append(session.buffers.outputs.reshape(2, 64, -1).copy())
    changed = (outputs[0] != outputs[1]).any(-1)
    assert not changed[:, :20].any()
    assert changed[:, 20:].all()


def test_a_training_in_pieces_is_the_training(make_runs: MakeRuns) -> None:
    runs = odd(make_runs, kind="adam", steps=6, schedule="cosine", warmup=2)
    whole, pieces = (compiled.TransformerSession(stack(runs), 0) for _ in range(2))
    losses = np.concatenate([pieces.learn(0, 3), pieces.learn(3, 6)], axis=1)
    assert np.array_equal(losses, whole.learn(0, 6))
    assert np.array_equal(pieces.held_out(), whole.held_out())


def test_weights_go_into_the_loops_and_back_as_they_were(make_runs: MakeRuns) -> None:
    nets, other = stack(odd(make_runs, seed=[1, 2])), stack(odd(make_runs, seed=[3, 2]))
    compiled.session(nets, 0).leave(other)
    assert all(torch.equal(*pair) for pair in zip(nets.weights, other.weights, strict=True))


def test_a_token_sees_none_after_it_where_scores_are_vast(make_runs: MakeRuns) -> None:
    session = compiled.TransformerSession(stack(odd(make_runs)), 0)
    session.buffers.qkv[0] = -1e18
    session.buffers.qkv[0][:, :32] = 1e18  # queries against keys: every score is -1e36
    session.buffers.qkv[0][:, 64:] = np.arange(128)[:, None] % 64
    attend(session.buffers, 0, True)
    expected = np.arange(128) % 64 / 2  # the mean of the values so far
    np.testing.assert_allclose(session.buffers.mixed[0], np.tile(expected[:, None], 32), atol=1e-5)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("part", TransformerWeights._fields)
def test_one_weight_that_is_not_finite_makes_every_loss_so(
    make_runs: MakeRuns, part: str, bad: float
) -> None:
    session = compiled.TransformerSession(stack(odd(make_runs, layer_scale=0.3)), 0)
    assert np.isfinite(session.held_out()).all()
    getattr(session.weights, part)[..., 3] = bad
    assert not np.isfinite(session.held_out()).any()
    assert not np.isfinite(session.learn(0, 2)).any()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_what_diverges_is_a_row_of_inf(make_runs: MakeRuns, kind: str) -> None:
    run = odd(make_runs, kind=kind, log2_lr=100)[0]
    assert set(summary(train([run]))[0].values()) == {np.inf}


def test_what_is_held_out_is_seen_whole_whatever_the_batch(make_runs: MakeRuns) -> None:
    # 288 texts are no multiple of 5: one at a time then
    few, five = (
        compiled.TransformerSession(stack(odd(make_runs, batch=batch)), 0).held_out()
        for batch in (4, 5)
    )
    np.testing.assert_allclose(few, five, rtol=1e-6)
