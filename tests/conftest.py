"""What every test shares: one thread, and a short way to name runs."""

import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from fathom.spec import Base, Net, Optim, Run, grid

MakeRuns = Callable[..., list[Run]]


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
