"""What every test shares: one thread, and a short way to name runs."""

import importlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fathom import store
from fathom.spec import Base, Net, Optim, Run, grid
from fathom.training.train import Curves

os.environ.pop(store.VARIABLE, None)  # tests look into build/ itself
MakeRuns = Callable[..., list[Run]]
# one net for each way of training: compiled kernels, and a stack under autograd
BOTH: list[dict[str, Any]] = [{"phi": "relu", "center": True}, {"phi": "tanh", "decay": 0.1}]


def same(first: Curves, second: Curves) -> bool:
    """Whether two trainings gave the same bits, values that are not finite included."""
    return np.array_equal(first.loss, second.loss, equal_nan=True) and np.array_equal(
        first.held_out, second.held_out, equal_nan=True
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # torch imports this at the first forward derivative, and warns of its own torch.jit
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_runs() -> MakeRuns:
    """The runs of a small residual entry with changes, each under its field's own name
    (base_width and base_depth for the base size). Lists are swept."""

    def make(**changes: Any) -> list[Run]:
        net: dict[str, Any] = {"family": "resmlp", "width": 16, "depth": 2}
        base: dict[str, Any] = {"width": 16, "depth": 2}
        optim: dict[str, Any] = {"kind": "sgd", "log2_lr": -4, "batch": 16, "steps": 4}
        entry: dict[str, Any] = {"net": net, "rules": "depth_mup", "base": base, "optim": optim}
        entry |= {"task": "digits", "seed": 1}
        for name, value in changes.items():
            if name in Net.model_fields:
                net[name] = value
            elif name in Optim.model_fields:
                optim[name] = value
            elif name.removeprefix("base_") in Base.model_fields:
                base[name.removeprefix("base_")] = value
            else:
                entry[name] = value
        return grid(entry, "test")

    return make


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(store, "_HELD", {})
    yield tmp_path
    for lock in store._HELD.values():
        lock.close()


def table() -> pd.DataFrame:
    """What a sweep may hold: words, the word none, booleans, counts, rates, losses and inf."""
    return pd.DataFrame(
        {
            "task": ["digits", "digits", "digits_sum"],
            "norm": ["none", "layer", "none"],
            "center": [True, False, True],
            "depth": [4, 8, 16],
            "log2_lr": [-4.5, -4.0, -3.5],
            "loss_mean": [0.12345678912, 1 / 3, math.inf],
            "key": ["0a1b2c3d4e5f", "1234567890ab", "fedcba098765"],
        }
    )


def until(true: Callable[[], Any]) -> None:
    """Wait for what is bound to come."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_whole(path: Path) -> bool:
    """Whether a JSON file that another process writes is there and complete."""
    return path.exists() and path.read_text().endswith("}")
