"""Checkpoints of large runs: gone on from to the same bits, never believed where they are not
this run's, and never run."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import BOTH, MakeRuns, same
from fathom import store
from fathom.spec import Run
from fathom.training.train import Checkpoint, cost, train


class Memory:
    """A checkpoint that is never written to disk."""

    def __init__(self) -> None:
        self.saved: list[dict[str, np.ndarray]] = []

    def load(self) -> dict[str, np.ndarray] | None:
        return dict(self.saved[-1]) if self.saved else None

    def save(self, arrays: dict[str, np.ndarray]) -> None:
        self.saved.append({name: array.copy() for name, array in arrays.items()})


class Cut:
    """A checkpoint at which training is cut short, after so many savings."""

    def __init__(self, inner: Checkpoint, at: int) -> None:
        self.load, self.inner, self.left = inner.load, inner, at

    def save(self, arrays: dict[str, np.ndarray]) -> None:
        self.inner.save(arrays)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture
def saved_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathom.training.train.PIECE", 0.0)
    monkeypatch.setattr("fathom.training.train.SAVED", 0.0)


TEXT: dict[str, Any] = {"family": "lm", "phi": "gelu", "task": "text", "schedule": "cosine"}
IMAGES: list[dict[str, Any]] = [
    {"family": "cnn", "width": 8, "norm": "batch", "dropout": 0.2},
    {"family": "resconv", "width": 8, "stages": 2, "order": "pre", "dropout": 0.2},
    {"family": "vit", "width": 32, "patch": 4, "phi": "gelu"},
    {"family": "vit", "width": 32, "patch": 4, "phi": "gelu", "bias": True, "dropout": 0.2},
    {"family": "linearised", "order": "pre"},
]
MOMENTUM = {"momentum": 0.9}


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("net", [*BOTH, TEXT, *IMAGES], ids=str)
def test_a_run_cut_short_at_any_checkpoint_goes_on_to_the_same_bits(
    make_runs: MakeRuns, tmp_path: Path, net: dict[str, Any], kind: str
) -> None:
    more = {} if kind == "adam" else MOMENTUM
    run = make_runs(**net, **more, kind=kind, steps=6)
    whole = train(run)
    for at in range(1, 6):
        memory = Memory()
        for place in (memory, store.Checkpoint(tmp_path / f"{at}.npz")):
            with pytest.raises(KeyboardInterrupt):
                train(run, checkpoint=Cut(place, at))
            resumed = train(run, checkpoint=place)
            assert same(resumed, whole)
            weights = zip(resumed.nets.weights, whole.nets.weights, strict=True)
            assert all(torch.equal(a, b) for a, b in weights)
        assert [one["curve"].shape for one in memory.saved] == [(1, step) for step in range(1, 6)]


@pytest.mark.parametrize("net", BOTH)
def test_pieces_and_checkpoints_come_after_so_many_operations_and_change_no_bit(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, net: dict[str, Any]
) -> None:
    run, memory = make_runs(**net, kind="adam", steps=20), Memory()
    whole, step = train(run), cost(run[0]) / 20
    monkeypatch.setattr("fathom.training.train.PIECE", 3.5 * step)
    monkeypatch.setattr("fathom.training.train.SAVED", 5 * step)
    assert same(train(run, checkpoint=memory), whole)
    assert [one["curve"].shape[1] for one in memory.saved] == [6, 12, 18]


def written(run: Sequence[Run], path: Path) -> bytes:
    """A checkpoint file that a run really left."""
    with pytest.raises(KeyboardInterrupt):
        train(run, checkpoint=Cut(store.Checkpoint(path), 2))
    return path.read_bytes()


@pytest.mark.usefixtures("saved_at_every_step")
def test_a_checkpoint_that_is_garbled_or_cut_short_is_as_if_it_were_not_there(
    make_runs: MakeRuns, tmp_path: Path
) -> None:
    run, path = make_runs(kind="adam"), tmp_path / "some.npz"
    whole, good = train(run), written(run, path)
    assert store.Checkpoint(path).load() is not None
    cuts, middle = [good[:length] for length in range(0, len(good), 397)], len(good) // 2
    for said in (*cuts, b"some words", good[:middle] + b"\xff\x00" + good[middle + 2 :]):
        path.write_bytes(said)
        assert store.Checkpoint(path).load() is None
        assert same(train(run, checkpoint=store.Checkpoint(path)), whole)


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("other", ["width", "depth", "arrays", "array"])
def test_a_checkpoint_of_something_else_is_as_if_it_were_not_there(
    make_runs: MakeRuns, tmp_path: Path, other: str
) -> None:
    run, path = make_runs(kind="adam"), tmp_path / "some.npz"
    if other in ("width", "depth"):
        written(make_runs(kind="adam", **{other: 48}), path)
    elif other == "arrays":
        np.savez(path, here=np.ones(3), there=np.ones(4))
    else:
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    assert same(train(run, checkpoint=store.Checkpoint(path)), train(run))


ODD_CURVES = {
    "flat": np.zeros(2),
    "of two runs": np.zeros((2, 2)),
    "longer than the run": np.zeros((1, 99)),
    "of complex numbers": np.zeros((1, 2), complex),
    "of words": np.array([["a", "b"]]),
    "of whole numbers": np.zeros((1, 2), int),
}


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("odd", ODD_CURVES)
def test_a_checkpoint_whose_curve_is_none_is_as_if_it_were_not_there(
    make_runs: MakeRuns, tmp_path: Path, odd: str
) -> None:
    run, path = make_runs(kind="adam"), tmp_path / "some.npz"
    written(run, path)
    arrays = dict(np.load(path))
    for wrong in ({"curve": ODD_CURVES[odd]}, {"state_0000": arrays["state_0000"].astype(str)}):
        np.savez(path, **{**arrays, **wrong})
        assert same(train(run, checkpoint=store.Checkpoint(path)), train(run))


class Bomb:
    """What makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_checkpoint_is_ever_unpickled(make_runs: MakeRuns, tmp_path: Path) -> None:
    path, trace = tmp_path / "some.npz", tmp_path / "trace"
    for arrays in ({"curve": np.array([Bomb(trace)])}, {"state_0000": np.array([[Bomb(trace)]])}):
        np.savez(path, allow_pickle=True, **{"curve": np.ones((1, 2)), **arrays})
        assert store.Checkpoint(path).load() is None
        assert same(train(make_runs(), checkpoint=store.Checkpoint(path)), train(make_runs()))
    path.write_bytes(pickle.dumps(Bomb(trace)))
    assert store.Checkpoint(path).load() is None
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "it would have been seen"
