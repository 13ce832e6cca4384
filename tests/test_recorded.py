"""A step that a GPU records once and replays, where there is no GPU: a recorder of torch's
operations stands for the card's, and what it replays is what training does, bit for bit."""

from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.net import eager
from fathom.net.stack import stack
from fathom.spec import Run
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Recorder(TorchDispatchMode):
    """The operations of a step, run again on the very same tensors, with the numbers that were
    no tensors as they were: a CUDA graph. Like a card, it cannot ask a tensor for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number was asked for"
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
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorder)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Mock)


TEXT = {"family": "lm", "phi": "gelu", "task": "text", "batch": 2}
SCHEDULE = {"schedule": "cosine", "warmup": 3, "decay": 0.1}
CASES = [
    {"kind": "adam", "phi": "tanh"},
    {"kind": "sgd", "phi": "relu", "center": True, "norm": "layer"},
    {"kind": "sgd", "phi": "tanh", "task": "digits_mse", "train_ends": False},
    {"kind": "adam", **TEXT, **SCHEDULE},
    {"kind": "sgd", **TEXT, **SCHEDULE},
]


def curve(runs: list[Run], replayed: bool = False) -> np.ndarray:
    session = eager.Session(stack(runs), "cpu")
    if replayed:
        session.step = eager.recorded(session._step, session.state)
    return session.learn(0, 8)


@pytest.mark.parametrize("case", CASES)
def test_a_step_that_is_replayed_is_the_step(
    make_runs: MakeRuns, card: None, case: dict[str, Any]
) -> None:
    runs = make_runs(**case, steps=8, log2_lr=[-6, -4], seed=[1, 2])
    expected = curve(runs)
    assert np.array_equal(curve(runs, replayed=True), expected)
    assert all(len(np.unique(row)) == 8 for row in expected)


def test_what_is_no_tensor_is_not_seen_by_a_replay(
    make_runs: MakeRuns, card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(**CASES[3], steps=8, log2_lr=-4)
    expected = curve(runs)
    honest = eager.Session._step

    def blind(self: eager.Session) -> None:
        kept = self.share
        self.share = torch.full_like(kept, float(kept.numpy()))
        honest(self)
        self.share = kept

    monkeypatch.setattr(eager.Session, "_step", blind)
    assert not np.array_equal(curve(runs, replayed=True), expected)
