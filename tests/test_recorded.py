"""A step that a GPU records once and replays, where there is no GPU: a recorder of torch's
operations stands for the card's, and what it replays is what training does, bit for bit."""

import gc
import weakref
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.networks.stack import stack
from fathom.spec import Run
from fathom.training import autograd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ATEN = torch.ops.aten
# what a card cannot record: a number asked of a tensor, a tensor made of one, a shape that depends
# on values, a copy between devices
REFUSED = (ATEN._local_scalar_dense, ATEN.lift_fresh, ATEN.nonzero, ATEN.masked_select)


class Recorder(TorchDispatchMode):
    """The operations of a step, run again on the very same tensors, with the numbers that were
    no tensors as they were: a CUDA graph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in REFUSED, func
        assert func is not ATEN._to_copy.default or "device" not in (kwargs or {}), func
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            if not func.is_view:
                new = func(*args, **kwargs)
                for old, fresh in zip(tree_leaves(out), tree_leaves(new), strict=True):
                    if old is not None and old is not fresh:
                        old.copy_(fresh)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card called cuda, with a memory of its own."""
    here = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, at: self.clone() if at == "cuda" else here(self, at)
    )
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorder)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: graph)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Mock)


TEXT = {"family": "lm", "phi": "gelu", "task": "text", "batch": 2}
SCHEDULE = {"schedule": "cosine", "warmup": 3, "decay": 0.1}
CASES = [
    {"kind": "adam", "phi": "tanh", "block_depth": 2},
    {"kind": "adam", "family": "linearised", "block_depth": 2, "center": True},
    {"kind": "sgd", "phi": "relu", "center": True, "norm": "layer"},
    {"kind": "sgd", "phi": "tanh", "task": "digits_mse", "train_ends": False},
    {"kind": "adam", **TEXT, **SCHEDULE},
    {"kind": "sgd", **TEXT, **SCHEDULE},
    {"kind": "adam", "family": "cnn", "padding": "circular", **SCHEDULE},
    {"kind": "sgd", "family": "resconv", "stages": 1, "norm": "batch", "momentum": 0.5},
    {"kind": "adam", "family": "vit", "patch": 4, "phi": "gelu"},
]


def session(runs: list[Run], device: str) -> autograd.Session:
    return autograd.Session(stack(runs), device)


def test_a_card_rounds_convolutions_no_more_than_matrix_products() -> None:
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("case", CASES)
def test_a_step_that_is_replayed_is_the_step(
    make_runs: MakeRuns, card: None, case: dict[str, Any]
) -> None:
    runs = make_runs(**case, steps=8, log2_lr=[-6, -4], seed=[1, 2])
    expected, replayed = session(runs, "cpu").learn(0, 8), session(runs, "cuda")
    assert isinstance(getattr(replayed.replay, "__self__", None), Recorder)
    assert np.array_equal(replayed.learn(0, 8), expected)
    assert all(len(np.unique(row)) == 8 for row in expected)


def test_a_stack_trained_on_a_card_gets_its_weights_when_the_training_leaves_them(
    make_runs: MakeRuns, card: None
) -> None:
    nets, before = stack(make_runs(**CASES[0], steps=8)), stack(make_runs(**CASES[0], steps=8))
    there = autograd.Session(nets, "cuda")
    there.learn(0, 8)
    pairs = zip(nets.weights, before.weights, there.nets.weights, strict=True)
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in pairs)
    there.leave(nets)
    expected = stack(make_runs(**CASES[0], steps=8))
    autograd.Session(expected, "cpu").learn(0, 8)
    pairs = zip(nets.weights, expected.weights, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_checkpoint_is_read_between_replays(make_runs: MakeRuns, card: None) -> None:
    replayed = session(make_runs(**CASES[0], steps=8), "cuda")
    replayed.learn(0, 4)
    kept = [part.clone() for part in replayed.state]
    rest = replayed.learn(4, 8)
    for part, was in zip(replayed.state, kept, strict=True):
        part.copy_(was)
    assert np.array_equal(replayed.learn(4, 8), rest)


def test_what_is_no_tensor_is_not_seen_by_a_replay(
    make_runs: MakeRuns, card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(kind="adam", **TEXT, **SCHEDULE, steps=8, log2_lr=-4)
    expected, honest = session(runs, "cpu").learn(0, 8), autograd.Session._step

    def blind(self: autograd.Session) -> None:
        kept = self.share
        self.share = torch.full_like(kept, float(kept.numpy()))
        honest(self)
        self.share = kept

    monkeypatch.setattr(autograd.Session, "_step", blind)
    assert not np.array_equal(session(runs, "cuda").learn(0, 8), expected)


def test_a_session_goes_when_it_is_let_go(make_runs: MakeRuns) -> None:
    gc.disable()
    try:
        one = session(make_runs(phi="tanh"), "cpu")
        one.learn(0, 2)
        left = weakref.ref(one)
        del one
        assert left() is None
    finally:
        gc.enable()
