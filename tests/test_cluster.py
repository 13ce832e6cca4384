"""A Dask cluster on loopback, of real processes: the same numbers, whoever dies."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import MakeRuns, is_whole, until
from fathom import store
from fathom.spec import Machine, Refused, Run
from fathom.sweeps import plan, workers
from fathom.sweeps.sweep import Row, sweep

pytestmark = pytest.mark.slow


LOOPBACK = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")


class Cluster:
    """A scheduler and two workers, each a process that binds to 127.0.0.1 alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.workers = folder, folder / "scheduler.json", []
        self.scheduler = self.start("scheduler", "--port", "0")
        until(lambda: is_whole(self.file))
        said = json.loads(self.file.read_text())
        self.address = said["address"]
        self.dashboard = f"http://127.0.0.1:{said['services']['dashboard']}/status"

    def start(self, kind: str, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *LOOPBACK, *words]
        with (self.folder / "stderr").open("a") as said:
            return subprocess.Popen(
                [*command, "--scheduler-file", str(self.file)], cwd=self.folder, stderr=said
            )

    def has(self, count: int) -> None:
        """Bring the workers that are alive to so many."""
        self.workers = [one for one in self.workers if one.poll() is None]
        for _ in range(count - len(self.workers)):
            self.workers.append(self.start("worker", "--nthreads", "1", "--no-nanny"))

    def end(self) -> None:
        for one in (*self.workers, self.scheduler):
            one.kill()
            one.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.end()


@pytest.fixture
def runs(make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Sixteen runs, one of which diverges, in as many stacks."""
    monkeypatch.setattr(plan, "FLIGHT", 1.0)
    rates = {"log2_lr": [-6, -5, -4, 60], "seed": [1, 2]}
    return make_runs(depth=[1, 2], kind="adam", steps=4000, **rates)


def test_a_table_of_a_cluster_is_that_of_this_machine_also_where_a_worker_is_killed(
    cluster: Cluster, runs: list[Run]
) -> None:
    whole = store.text(sweep(runs, machine=Machine(workers=1)))
    machine, kept = Machine(scheduler=cluster.address), []
    cluster.has(2)
    assert store.text(sweep(runs, keep=kept.append, machine=machine)) == whole
    assert sorted(map(len, kept)) == [1] * len(runs)
    kept.clear()

    def keep(rows: list[Row]) -> None:
        kept.append(rows)
        cluster.workers[0].kill()

    assert store.text(sweep(runs, keep=keep, machine=machine)) == whole
    assert len(kept) == len(runs)
    assert cluster.workers[0].poll() is not None


def test_an_error_in_a_worker_of_a_cluster_is_one_sentence(cluster: Cluster) -> None:
    cluster.has(1)
    with pytest.raises(Refused, match="ran out of memory"):
        list(workers.finished(bytearray, [(2**62,)], Machine(scheduler=cluster.address), 1))  # pyright: ignore


def test_the_dashboard_answers_and_nothing_listens_beyond_this_machine(cluster: Cluster) -> None:
    with urllib.request.urlopen(cluster.dashboard) as answer:
        assert answer.status == 200
    nanny = cluster.start("worker", "--nthreads", "1")
    until(lambda: len(listening(nanny.pid)) == 3)
    assert {*listening(nanny.pid), *listening(cluster.scheduler.pid)} == {"127.0.0.1"}
    nanny.terminate()
    nanny.wait(60)


def listening(pid: int) -> list[str]:
    """The addresses at which a process and those it started can be reached."""
    there = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    sockets = [socket for one in there for socket in one.net_connections("inet")]
    return [socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN]


def test_where_no_scheduler_answers_there_is_one_sentence(runs: list[Run]) -> None:
    with pytest.raises(Refused) as caught:
        sweep(runs, machine=Machine(scheduler="tcp://127.0.0.1:1"))
    message = "scheduler: nothing answers at tcp://127.0.0.1:1; start one with: dask scheduler"
    assert str(caught.value) == message


def test_a_scheduler_that_dies_is_one_sentence_and_what_was_done_is_kept(
    cluster: Cluster, runs: list[Run]
) -> None:
    kept: list[Row] = []

    def keep(rows: list[Row]) -> None:
        kept.extend(rows)
        cluster.scheduler.kill()

    cluster.has(2)
    with pytest.raises(Refused) as caught:
        sweep(runs, keep=keep, machine=Machine(scheduler=cluster.address))
    assert str(caught.value).startswith(f"the scheduler at {cluster.address} is gone")
    assert workers.KEPT in str(caught.value)
    assert 0 < len(kept) < len(runs)
