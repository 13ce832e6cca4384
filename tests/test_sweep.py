import math
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import MakeRuns
from fathom import store
from fathom.net import sweep as engine
from fathom.net.plan import estimate, memory
from fathom.net.sweep import Row, sweep
from fathom.net.train import NUMERICS
from fathom.spec import COLUMNS, METRICS, Machine, Refused, Run


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


def table_of(runs: list[Run], known: pd.DataFrame | None = None, workers: int = 1) -> pd.DataFrame:
    return sweep(runs, known=known, machine=Machine(workers=workers))


def test_a_table_does_not_depend_on_the_number_of_workers(runs: list[Run]) -> None:
    assert store.text(table_of(runs, workers=2)) == store.text(table_of(runs))


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
    whole, write = table_of(runs), store.keeper("sweep/some")
    trained.clear()

    def keep_and_die(rows: list[Row]) -> None:
        write(rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(runs, keep=keep_and_die, machine=Machine(workers=1))
    before = len(trained)
    assert 0 < before < len(runs)
    resumed = table_of(runs, store.known("sweep/some"))
    assert store.text(resumed) == store.text(whole)
    assert len(trained) == len(runs)


def test_a_table_has_one_row_per_run_and_the_columns_it_promises(runs: list[Run]) -> None:
    table = table_of(runs)
    assert list(table["key"]) == [run.key for run in runs]
    assert list(table.columns) == [*COLUMNS, *METRICS[:4], "numerics", "key"]
    assert ((table["loss_mean"] == math.inf) == (table["log2_lr"] == 60)).all()


def test_known_rows_are_not_trained_again(runs: list[Run], trained: list[Run]) -> None:
    known = table_of(runs).iloc[::2]
    trained.clear()
    table_of(runs, known)
    assert {run.key for run in trained} == {run.key for run in runs[1::2]}
    trained.clear()
    table_of(runs, table_of(runs))
    assert len(trained) == len(runs)


def test_rows_of_other_numerics_are_trained_again(
    runs: list[Run], trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = table_of(runs)
    trained.clear()
    monkeypatch.setitem(NUMERICS, "adam", 99)
    table_of(runs, known)
    assert trained == []
    monkeypatch.setitem(NUMERICS, "sgd", 99)
    assert table_of(runs, known)["numerics"].str.contains("sgd 99").all()
    assert len(trained) == len(runs)


def test_a_new_seed_trains_that_seed_alone(make_runs: MakeRuns, trained: list[Run]) -> None:
    known = table_of(make_runs(seed=[1, 2], log2_lr=[-4, -3]))
    trained.clear()
    assert len(table_of(make_runs(seed=[1, 2, 3], log2_lr=[-4, -3]), known)) == 6
    assert [run.seed for run in trained] == [3, 3]


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
    assert list(again.columns) == [*COLUMNS, *METRICS[4:], "numerics", "key"]


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


def test_a_sweep_that_does_not_fit_into_memory_is_refused_before_it_starts(
    runs: list[Run], trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(available: int) -> None:
        found = SimpleNamespace(available=available)
        monkeypatch.setattr(engine.psutil, "virtual_memory", lambda: found)

    largest = max(memory(one) for one in engine.stacked(runs))
    free(largest - 1)
    with pytest.raises(Refused) as caught:
        table_of(runs)
    message = str(caught.value)
    assert message.startswith("width 16, depth 2: 1 workers would need 0 GiB")
    assert message.endswith("give a smaller width, depth or batch")
    assert trained == []
    free(largest)
    table_of(runs)


def test_memory_grows_with_what_is_held(make_runs: MakeRuns) -> None:
    small = memory(make_runs())
    for change in ({"width": 32}, {"depth": 4}, {"batch": 32}, {"kind": "adam"}, {"seed": [1, 2]}):
        assert memory(make_runs(**change)) > small


def test_an_estimate_has_a_row_per_shape_and_counts_its_runs(runs: list[Run]) -> None:
    found = estimate(runs)
    assert list(found["depth"]) == [1, 2]
    assert list(found["runs"]) == [8, 8]
    assert (found["core_seconds"] > 0).all()
