"""The real command: however it is stopped, it goes on from there to the same table."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import is_whole, until
from fathom import store
from fathom.notebooks import FULL
from fathom.spec import Machine, grid
from fathom.store import ROOT
from fathom.sweeps.sweep import sweep
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

SMALL = """
net: {family: resmlp, width: 16, depth: [1, 2, 3, 4, 5, 6]}
rules: [mup, ntp, depth_mup, ode]
base: {width: 16, depth: 2}
optim: {kind: adam, log2_lr: -6, batch: 16, steps: STEPS}
task: digits
seed: [1, 2]
"""
RUNS = 48
COMMAND = [sys.executable, "-m", "fathom", "sweep", "small", "--workers"]
GOES_ON = "the same command goes on from there"
Door = subprocess.Popen[bytes]


class Suite:
    """A copy of the suite that holds one small sweep, and its real command."""

    def __init__(self, root: Path, steps: int) -> None:
        self.entry = SMALL.replace("STEPS", str(steps))
        self.root, self.said = root, root / "stderr"
        self.journal = root / "build/journal/artifacts/sweep/small.jsonl"
        self.env = {**os.environ, "PYTHONPATH": str(root / "lib")}
        for name in ("lib", "notebooks"):
            shutil.copytree(ROOT / name, root / name)
        indented = self.entry.replace("\n", "\n    ")
        (root / "params.yaml").write_text(f"sweep:\n  small:{indented}\n")

    def start(self, workers: int = 1) -> Door:
        # what ignores Ctrl-C, as a script's `command &` does, hands that down to all it starts
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with self.said.open("w") as said:
            return subprocess.Popen(
                [*COMMAND, str(workers)], cwd=self.root, env=self.env, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def whole(self) -> str:
        """The table of an undisturbed sweep."""
        runs = grid(YAML(typ="safe").load(self.entry), "small")
        assert len(runs) == RUNS
        return store.text(sweep(runs, machine=Machine(workers=1)))

    def known(self) -> int:
        """How many runs are in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def sentence(self) -> str:
        """The one line the command said; ipykernel may add that a task of its own is pending."""
        said = self.said.read_text()
        assert "Traceback" not in said
        (sentence,) = [line for line in said.splitlines() if "fathom:" in line]
        return sentence


def kernel_of(door: Door) -> psutil.Process:
    children = psutil.Process(door.pid).children()
    return next(one for one in children if "ipykernel_launcher" in one.cmdline())


STOPS: list[tuple[int, Callable[[int, int], None], int, str]] = [
    (2, lambda door, _: os.killpg(door, signal.SIGINT), 130, "interrupted; "),
    (1, lambda door, _: os.killpg(door, signal.SIGTERM), -signal.SIGTERM, ""),
    (1, lambda door, _: os.kill(door, signal.SIGKILL), -signal.SIGKILL, ""),
    (1, lambda _, kernel: os.kill(kernel, signal.SIGKILL), 1, "its kernel was killed"),
]


def test_whatever_stops_a_sweep_the_same_command_goes_on_to_the_same_table(tmp_path: Path) -> None:
    suite, known = Suite(tmp_path, steps=15000), 0
    table = tmp_path / "artifacts" / "sweep" / "small.csv"
    for workers, stop, code, says in STOPS:
        door = suite.start(workers)
        until(lambda known=known: suite.known() > known)
        kernel = kernel_of(door)
        stop(door.pid, kernel.pid)
        assert door.wait(60) == code
        until(lambda kernel=kernel: not kernel.is_running())
        assert known < suite.known() < RUNS
        assert not table.parent.exists()
        if says:
            assert suite.sentence().startswith("fathom: ")
            assert says in suite.sentence() and GOES_ON in suite.sentence()
        known = suite.known()

    first = suite.start()
    until(lambda: suite.known() > known)
    kernel = kernel_of(first)
    for one in (psutil.Process(first.pid), kernel):
        assert {socket.laddr.ip for socket in one.net_connections("inet")} <= {"127.0.0.1"}
    kernel.suspend()
    second = suite.start()
    assert second.wait(60) == 2
    assert f"sweep/small: process {kernel.pid} is working on it" in suite.sentence()
    kernel.resume()
    assert first.wait(60) == 0
    assert table.read_text() == suite.whole()
    assert [path.name for path in table.parent.iterdir()] == ["small.csv"]
    assert not suite.journal.exists()


def loaded(door: Door, library: str) -> bool:
    """Whether a process has come so far that it has loaded a library."""
    return any(library in one.path for one in psutil.Process(door.pid).memory_maps())


@pytest.mark.parametrize("library", ["pydantic_core", "pandas", "_zmq", "a kernel"])
def test_ctrl_c_at_the_start_is_one_sentence_too(tmp_path: Path, library: str) -> None:
    suite = Suite(tmp_path, steps=15000)
    door = suite.start()
    if library == "a kernel":
        until(lambda: psutil.Process(door.pid).children())
    else:
        until(lambda: loaded(door, library))
    os.killpg(door.pid, signal.SIGINT)
    assert door.wait(60) == 130
    assert GOES_ON in suite.sentence()


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_the_command_works_on_a_cluster_and_gives_the_same_table(tmp_path: Path, by: str) -> None:
    suite, said = Suite(tmp_path, steps=50), tmp_path / "scheduler.json"
    here = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    here += ["--scheduler-file", str(said)]
    quiet: dict[str, Any] = {"cwd": tmp_path, "env": suite.env, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "distributed.cli.dask_"]
    started = [
        subprocess.Popen([*dask[:2], f"{dask[2]}{kind}", *here, *more], **quiet)
        for kind, more in (("scheduler", ["--port", "0"]), ("worker", ["--nthreads", "1"]))
    ]
    try:
        until(lambda: is_whole(said))
        address = json.loads(said.read_text())["address"]
        words = [*COMMAND[:-1], *(["--scheduler", address] if by == "flag" else [])]
        quiet["env"] = suite.env | ({"FATHOM_SCHEDULER": address} if by == "variable" else {})
        quiet.pop("stderr")
        done = subprocess.run(words, capture_output=True, text=True, check=False, **quiet)
        assert done.returncode == 0, done.stderr
        assert "48 of 48 done" in done.stderr
        worker = psutil.Process(started[1].pid)
        busy = [sum(one.cpu_times()[:2]) for one in (worker, *worker.children(recursive=True))]
        assert sum(busy) > 2, "its worker did the work"
    finally:
        for one in started:
            one.terminate()
            one.wait()
    assert (tmp_path / "artifacts" / "sweep" / "small.csv").read_text() == suite.whole()


FULL_THREE_TIMES = """
command() {
  "$@" 2> stderr
  echo "$? $(cat build/journal/artifacts/sweep/small.jsonl 2> /dev/null | wc -l) $(tail -1 stderr)"
}
mount -t tmpfs -o size=4k none build || exit 77
command "$@"
mount -o remount,size=1m build
mkdir build/journal
mount -t tmpfs -o size=16k none build/journal
command "$@"
mount -o remount,size=1m build/journal
mount -t tmpfs -o size=4k none artifacts/sweep
command "$@"
mount -o remount,size=1m artifacts/sweep
command "$@"
cp -a artifacts/sweep/. found
"""


def test_on_a_full_disk_a_sweep_stops_with_one_sentence_and_goes_on_later(tmp_path: Path) -> None:
    suite = Suite(tmp_path, steps=100)
    for name in ("build", "artifacts/sweep", "found"):
        (tmp_path / name).mkdir(parents=True)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FULL_THREE_TIMES, "sh", *COMMAND, "1"],
        cwd=tmp_path, env=suite.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a small disk cannot be mounted here")
    *said, last = [line for line in done.stdout.splitlines() if line != "sweep.small: 48 runs"]
    known = [int(line.split()[1]) for line in said if line.startswith("2 ")]
    assert [line.partition("fathom: ")[2] for line in said] == [FULL] * 3
    assert known[0] == 0 < known[1] < RUNS <= known[2]
    assert last.startswith("0 0 ")
    assert [path.name for path in (tmp_path / "found").iterdir()] == ["small.csv"]
    assert (tmp_path / "found" / "small.csv").read_text() == suite.whole()
