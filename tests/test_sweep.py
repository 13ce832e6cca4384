import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MakeRuns
from fathom import store
from fathom.spec import COLUMNS, MEASURED, Machine, Refused, Run, grid
from fathom.sweeps import plan, workers
from fathom.sweeps import sweep as engine
from fathom.sweeps.sweep import Row, sweep
from fathom.training.train import NUMERICS
from ruamel.yaml import YAML


@pytest.fixture
def runs(make_runs: MakeRuns) -> list[Run]:
    """Sixteen runs of two shapes, some of which diverge."""
    return make_runs(
        depth=[1, 2], rules=["mup", "ntp"], log2_lr=[-6, 60], base_width=8, seed=[1, 2]
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were worked on, in the order of the work."""
    done: list[Run] = []
    work = engine.work

    def counted(runs: list[Run], measure: str, device: str, checkpoint: None) -> list[Row]:
        done.extend(runs)
        return work(runs, measure, device, checkpoint)

    monkeypatch.setattr(engine, "work", counted)
    return done


def table_of(runs: list[Run], known: pd.DataFrame | None = None, crew: int = 1) -> pd.DataFrame:
    return sweep(runs, known=known, machine=Machine(workers=crew))


def test_a_table_does_not_depend_on_the_number_of_workers(runs: list[Run]) -> None:
    assert store.text(table_of(runs, crew=2)) == store.text(table_of(runs))


@pytest.mark.parametrize("seed", range(3))
def test_a_table_does_not_depend_on_the_order_in_which_stacks_finish(
    runs: list[Run], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, finished, orders = table_of(runs), workers.finished, []

    def shuffled(work: Any, jobs: Any, machine: Machine, crew: int) -> list[list[Row]]:
        done = list(finished(work, jobs, machine, crew))
        order = np.random.default_rng(seed).permutation(len(done))
        orders.append(list(order))
        return [done[i] for i in order]

    monkeypatch.setattr(plan, "FLIGHT", 1.0)
    monkeypatch.setattr(workers, "finished", shuffled)
    assert store.text(table_of(runs)) == store.text(whole)
    assert len(orders[0]) == len(runs)
    assert orders[0] != sorted(orders[0])


def test_a_table_does_not_depend_on_the_order_of_runs(runs: list[Run]) -> None:
    assert store.text(table_of(runs[::-1])) == store.text(table_of(runs))


@pytest.mark.parametrize("part", [slice(0, None), slice(0, None, 2), slice(3, 8), slice(15, None)])
def test_a_table_does_not_depend_on_what_was_known(
    runs: list[Run], part: slice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path)
    table = table_of(runs)
    for known in (table.iloc[part], None):
        if known is None:
            store.write(table.iloc[part], "sweep/some")
            known = store.known("sweep/some")
        assert store.text(table_of(runs, known)) == store.text(table)


def test_a_sweep_that_was_killed_resumes_to_the_same_table(
    runs: list[Run], trained: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path)
    whole, journal = table_of(runs), store.Journal("sweep/some")
    trained.clear()

    def keep_and_die(rows: list[Row]) -> None:
        journal.keep(rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(runs, keep=keep_and_die, machine=Machine(workers=1))
    before = len(trained)
    assert 0 < before < len(runs)
    resumed = table_of(runs, store.known("sweep/some"))
    journal.close()
    assert store.text(resumed) == store.text(whole)
    assert len(trained) == len(runs)


def test_a_table_has_one_row_per_run_and_the_columns_it_promises(runs: list[Run]) -> None:
    table = table_of(runs)
    assert list(table["key"]) == [run.key for run in runs]
    assert list(table.columns) == [*COLUMNS, *MEASURED["train"], "numerics", "key"]
    assert ((table["loss_mean"] == math.inf) == (table["log2_lr"] == 60)).all()


def test_known_rows_are_not_trained_again(runs: list[Run], trained: list[Run]) -> None:
    known = table_of(runs).iloc[::2]
    trained.clear()
    table_of(runs, known)
    assert {run.key for run in trained} == {run.key for run in runs[1::2]}
    trained.clear()
    table_of(runs, table_of(runs))
    assert len(trained) == len(runs)


MIXED = {"family": ["mlp", "resmlp"], "kind": ["sgd", "adam"], "task": ["digits", "digits_noisy"]}


@pytest.mark.parametrize("part", ["mlp", "resmlp", "sgd", "adam", "digits", "gaussian"])
def test_new_numerics_of_a_part_train_what_it_touches_and_nothing_else(
    part: str, make_runs: MakeRuns, trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(**MIXED)
    known = table_of(runs)
    trained.clear()
    table_of(runs, known)
    assert trained == []
    monkeypatch.setitem(NUMERICS, part, 99)
    table = table_of(runs, known)
    touched = [r for r in runs if part in (r.net.family, r.optim.kind, r.task.split("_")[0])]
    assert {run.key for run in trained} == {run.key for run in touched}
    assert len(trained) == len(touched) == {"digits": 8, "gaussian": 0}.get(part, 4)
    said = table["numerics"].str.contains(f"{part} 99")
    assert list(table["key"][said]) == [run.key for run in touched]


@pytest.mark.parametrize(
    ("name", "few", "more"),
    [("seed", [1, 2], [1, 2, 3]), ("log2_lr", [-5, -4], [-4, -5, -4.5]), ("depth", [2], [1, 2])],
)
def test_what_is_added_is_trained_alone_and_what_is_removed_trains_nothing(
    name: str, few: list[Any], more: list[Any], make_runs: MakeRuns, trained: list[Run]
) -> None:
    small, large = make_runs(**{name: few}), make_runs(**{name: more})
    whole = {"small": store.text(table_of(small)), "large": store.text(table_of(large))}
    known = table_of(small)
    trained.clear()
    grown = table_of(large, known)
    assert [run.row()[name] for run in trained] == [one for one in more if one not in few]
    assert store.text(grown) == whole["large"]
    trained.clear()
    assert store.text(table_of(small, grown)) == whole["small"]
    assert trained == []


def test_a_comment_or_another_order_of_words_trains_nothing(trained: list[Run]) -> None:
    said = """
    net: {family: resmlp, width: 16, depth: [1, 2]}
    rules: mup
    base: {width: 16, depth: 2}
    optim: {kind: sgd, log2_lr: -4, batch: 16, steps: 4}
    task: digits
    seed: 1
    """
    lines = said.rstrip().splitlines()[:0:-1]
    entries = [YAML(typ="safe").load(text) for text in (said, "# new\n" + "\n".join(lines))]
    first, second = (grid(entry, "test") for entry in entries)
    known = table_of(first)
    trained.clear()
    assert store.text(table_of(second, known)) == store.text(known)
    assert trained == []
    assert [run.key for run in first] == [run.key for run in second]


def test_a_table_of_an_older_schema_is_known_where_what_was_measured_is_there(
    runs: list[Run], trained: list[Run]
) -> None:
    whole = table_of(runs)
    trained.clear()
    older = whole.drop(columns=["norm", "train_ends"])
    assert store.text(table_of(runs, older)) == store.text(whole)
    assert trained == []
    for missing in ("loss_late", "numerics", "key"):
        trained.clear()
        assert store.text(table_of(runs, whole.drop(columns=[missing]))) == store.text(whole)
        assert len(trained) == len(runs)


@pytest.mark.parametrize("value", [math.nan, None, "0.5", True, 1])
def test_a_known_row_whose_measure_is_no_number_is_trained_again(
    value: Any, runs: list[Run], trained: list[Run]
) -> None:
    whole = table_of(runs)
    known = whole.astype({"loss_late": object})
    known.loc[5, "loss_late"] = value
    trained.clear()
    assert store.text(table_of(runs, known)) == store.text(whole)
    assert [run.key for run in trained] == [runs[5].key]


def test_a_column_of_whole_numbers_is_known(runs: list[Run], trained: list[Run]) -> None:
    whole = table_of(runs).assign(loss_late=0)
    trained.clear()
    assert (table_of(runs, whole)["loss_late"] == 0).all()
    assert trained == []


def test_only_what_was_measured_is_taken_from_a_known_row(runs: list[Run]) -> None:
    whole = table_of(runs)
    known = whole.assign(seed=99, task="digits_sum", width=7, more="x")
    assert store.text(table_of(runs, known)) == store.text(whole)
    changed = table_of(runs, whole.assign(loss_late=whole["loss_late"] + 1))
    assert (changed["loss_late"] == whole["loss_late"] + 1).all()


def test_rows_of_another_sweep_in_a_journal_are_of_no_use_and_do_no_harm(
    runs: list[Run], trained: list[Run], make_runs: MakeRuns, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(store, "ROOT", tmp_path)
    whole, journal, machine = table_of(runs), store.Journal("sweep/some"), Machine(workers=1)
    sweep(make_runs(seed=[7, 8]), keep=journal.keep, machine=machine)
    sweep(make_runs(task="gaussian"), measure="one_step", keep=journal.keep, machine=machine)
    sweep(runs[:3], keep=journal.keep, machine=machine)
    trained.clear()
    assert store.text(table_of(runs, store.known("sweep/some"))) == store.text(whole)
    assert {run.key for run in trained} == {run.key for run in runs[3:]}
    journal.close()


def none_left() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("work", "job", "crew", "says"),
    [
        (none_left, (), 1, "ran out of memory"),
        (torch.empty, (2**60,), 1, "ran out of memory"),
        (bytearray, (2**62,), 2, "ran out of memory"),
        (signal.raise_signal, (signal.SIGKILL,), 2, "was killed"),
        (os._exit, (1,), 2, "was killed"),
    ],
)
def test_a_worker_that_runs_out_of_memory_or_dies_is_one_sentence(
    work: Any, job: tuple[Any, ...], crew: int, says: str
) -> None:
    with pytest.raises(Refused) as caught:
        list(workers.finished(work, [job] * 3, Machine(workers=crew), crew))
    message = str(caught.value)
    assert message.startswith("a worker ")
    assert says in message
    assert "--workers" in message and "--memory-gib" in message and workers.KEPT in message
    assert "\n" not in message


def test_another_error_of_a_worker_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        list(workers.finished(torch.reshape, [(torch.ones(3), (2, 2))], Machine(workers=1), 1))  # pyright: ignore[reportArgumentType]


def test_rows_that_are_known_but_not_asked_for_are_left_out(make_runs: MakeRuns) -> None:
    known = table_of(make_runs(seed=[1, 2]))
    assert list(table_of(make_runs(seed=[2, 3]), known)["seed"]) == [2, 3]


def test_a_row_that_was_trained_is_no_row_of_a_probe(
    make_runs: MakeRuns, trained: list[Run]
) -> None:
    known = table_of(make_runs())
    table = sweep(make_runs(), measure="one_step", known=known, machine=Machine(workers=1))
    again = sweep(make_runs(), measure="one_sample_step", known=table, machine=Machine(workers=1))
    assert len(trained) == 3
    assert list(again.columns) == [*COLUMNS, *MEASURED["one_step"], "numerics", "key"]


def test_every_finished_row_is_kept_before_the_next_stack_is_waited_for(
    runs: list[Run], trained: list[Run]
) -> None:
    kept: list[Row] = []
    done_when_kept: list[int] = []

    def keep(rows: list[Row]) -> None:
        kept.extend(rows)
        done_when_kept.append(len(trained))

    table = sweep(runs, keep=keep, machine=Machine(workers=1))
    assert sorted(row["key"] for row in kept) == sorted(run.key for run in runs)
    assert done_when_kept[0] < len(runs)
    assert store.text(pd.DataFrame(kept)) == store.text(table)


def test_known_rows_are_not_kept_again(runs: list[Run]) -> None:
    kept: list[Row] = []
    sweep(runs, known=table_of(runs[:10]), keep=kept.extend, machine=Machine(workers=1))
    assert sorted(row["key"] for row in kept) == sorted(run.key for run in runs[10:])
