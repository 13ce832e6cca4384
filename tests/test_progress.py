"""What a person sees of a sweep: what it will take, how far it is, what was lost, how fast."""

import re
from typing import Any

import pytest
import torch
from conftest import MakeRuns
from fathom import store
from fathom.spec import Machine, Refused, Run
from fathom.sweeps import plan
from fathom.sweeps import sweep as engine
from fathom.sweeps.sweep import reusable, sweep, work
from fathom.training import compiled, train
from fathom.training.train import Checkpoint


@pytest.fixture
def runs(make_runs: MakeRuns) -> list[Run]:
    """Eight runs, two of which diverge."""
    return make_runs(log2_lr=[-6, 60], seed=[1, 2], depth=[1, 2], steps=8, width=32)


def test_a_sweep_says_how_far_it_is_what_diverged_and_how_fast_it_was(
    runs: list[Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "FLIGHT", 1.0)
    sweep(runs, machine=Machine(workers=1, bar="text"))
    said = capsys.readouterr().err
    assert "8 runs to do, 0 known:   0% |" in said
    assert re.search(r"100% \|█+\| \[\d\d:\d\d, 00:00 left, 8 of 8 done, 4 diverged\]", said)
    assert re.search(r"\n8 runs in [\d.]+ seconds, [\d.e+]+ a second\n$", said)
    assert "GiB" not in said, "a short sweep needs no forecast"


def test_a_long_sweep_says_beforehand_what_it_will_take(
    runs: list[Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LONG", 0.0)
    sweep(runs, machine=Machine(workers=1, bar="text"))
    first, rest = capsys.readouterr().err.split("\n", 1)
    assert re.fullmatch(
        r"about [\d.]+ (seconds|minutes) and [\d.]+ GiB on 1 workers, from a few measured steps",
        first,
    )
    assert "8 of 8 done" in rest


def test_what_is_known_is_counted_and_a_finished_sweep_says_nothing(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    table = sweep(runs[:6], machine=Machine(workers=1))
    capsys.readouterr()
    known = sweep(runs, known=table, machine=Machine(workers=1, bar="text"))
    assert "2 runs to do, 6 known" in capsys.readouterr().err
    sweep(runs, known=known, machine=Machine(workers=1, bar="text"))
    assert capsys.readouterr().err == ""


def test_in_jupyter_it_is_a_bar_of_the_notebook(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def bar(kind: str) -> object:
        def made_here(**how: object) -> object:
            made.append(kind)
            return plain(**{**how, "disable": True})

        return made_here

    plain = engine.tqdm.tqdm
    monkeypatch.setattr(engine.tqdm.auto, "tqdm", bar("notebook"))
    monkeypatch.setattr(engine.tqdm, "tqdm", bar("line"))
    for kind in ("auto", "text"):
        sweep(runs[:1], machine=Machine(workers=1, bar=kind))
    assert made == ["notebook", "line"]


def test_a_plan_lists_a_grid_by_its_fields(make_runs: MakeRuns) -> None:
    runs = make_runs(
        rules=["sp", "mup"], log2_lr=[-6, -5.5, -5, -4.5], seed=[3, 1], gain=2.0, center=True
    )
    assert plan.swept(runs) == [
        *("task: digits", "family: resmlp", "rules: sp, mup", "width: 16", "depth: 2"),
        *("center: True", "gain: 2", "base_width: 16", "base_depth: 2", "kind: sgd"),
        *("batch: 16", "steps: 4", "log2_lr: -6 to -4.5 by 0.5", "seed: 1, 3"),
    ]


@pytest.mark.parametrize("what", ["memory", "gaussian"])
def test_a_plan_refuses_before_it_trains_anything(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def sessions(*words: object, **how: object) -> None:
        raise AssertionError

    monkeypatch.setattr(plan, "sessions", sessions)
    given = {"memory": {"steps": 10**8}, "gaussian": {"task": "gaussian", "train_ends": False}}
    runs, machine = make_runs(**given[what]), Machine(workers=1)
    says = {"memory": "one run needs", "gaussian": "gaussian has no examples to train on"}[what]
    for asked in (plan.estimate, plan.stacked):
        with pytest.raises(Refused, match=says):
            asked(runs, "train", machine)


def test_the_order_of_the_examples_counts_as_memory(make_runs: MakeRuns) -> None:
    few, many = make_runs(steps=10), make_runs(steps=10**6)
    assert plan.memory(many) - plan.memory(few) == 24 * 16 * (10**6 - 10)


class Card:
    total_memory = 80 * 2**30


def test_on_a_card_stacks_are_as_large_as_its_memory_and_rows_say_so(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(phi="tanh", kind="adam", seed=list(range(1, 301)))
    machine = Machine(workers=1, device="cpu")
    here = [len(one) for one in plan.stacked(runs, machine=machine)]
    monkeypatch.setattr(plan, "on", lambda device: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Card)
    assert plan.allowed(machine) == 64
    assert [len(one) for one in plan.stacked(runs, machine=machine)] == [256, 44]
    assert max(here) < 256

    (row,) = work(runs[:1], "train", "cpu")
    monkeypatch.setattr(engine, "on", lambda device: "cuda")
    (far,) = work(runs[:1], "train", "cpu")
    assert far["numerics"] == row["numerics"] + " cuda"
    table = engine.pd.DataFrame([far])
    assert reusable(runs[:1], "train", table) == [far], "known, whichever device trained it"


def test_a_card_has_other_limits_than_a_core_and_no_part_in_what_is_measured(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    size: dict[str, Any] = {"phi": "tanh", "width": 64, "depth": 64, "batch": 64, "seed": [1, 2]}
    step = train.cost(make_runs(**size, steps=1)[0])
    dear = make_runs(**size, steps=int(2 * train.SAVED / step))
    runs = make_runs(phi="tanh", seed=list(range(1, 301)))
    measured = [len(one) for one in plan.stacked(runs, "coordinates", Machine(device="cpu"))]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Card)
    sizes = {
        device: [len(one) for one in plan.stacked(dear, machine=Machine(device=device))]
        for device in ("cpu", "cuda")
    }
    assert sizes == {"cpu": [1, 1], "cuda": [2]}
    stacks = plan.stacked(runs, "coordinates", Machine(device="cuda"))
    assert [len(one) for one in stacks] == measured


TEXT: dict[str, Any] = {"family": "lm", "phi": "gelu", "task": "text"}


@pytest.mark.parametrize("net", [{"phi": "relu"}, TEXT])
def test_on_a_card_memory_is_that_of_autograd(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch, net: dict[str, Any]
) -> None:
    runs = make_runs(**net, seed=[1, 2])
    here = plan.memory(runs)
    monkeypatch.setattr(plan, "on", lambda device: "cuda")
    there = plan.memory(runs)
    monkeypatch.setattr(compiled, "covers", lambda run: False)
    assert here != there == plan.memory(runs)


def test_a_checkpoint_goes_as_soon_as_its_run_is_done(
    make_runs: MakeRuns, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path)
    for place in (
        "fathom.training.train.SAVED",
        "fathom.sweeps.plan.SAVED",
        "fathom.sweeps.sweep.SAVED",
    ):
        monkeypatch.setattr(place, 0.0)
    monkeypatch.setattr("fathom.training.train.PIECE", 0.0)
    runs, journal = make_runs(seed=[1, 2, 3]), store.Journal("sweep/large")
    left: list[int] = []

    def checkpoint(key: str, numerics: str) -> store.Checkpoint:
        return journal.checkpoint(key, numerics)

    def keep(rows: list[engine.Row]) -> None:
        journal.keep(rows)
        left.append(len(list((tmp_path / "build").rglob("*.npz"))))

    kept: Checkpoint = checkpoint("a", "b")
    assert kept.load() is None
    table = sweep(runs, keep=keep, checkpoint=checkpoint, machine=Machine(workers=1))
    assert left[0] == 1, "it is there until its rows are kept"
    assert not list((tmp_path / "build").rglob("*.npz"))
    assert store.text(table) == store.text(sweep(runs, machine=Machine(workers=1)))
    journal.close()
