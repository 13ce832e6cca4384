"""Nothing is lost: whoever kills a sweep, at whatever moment, the same command goes on from
there to the same bytes.

Run as a program, this file is where the victims come from: it imports everything once, forks
a sweep for every line it reads, kills it when the line says so, and prints how it ended.
"""

import errno
import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from fathom import store
from fathom.spec import Refused, grid
from fathom.sweeps import plan
from fathom.sweeps import sweep as engine
from fathom.training.train import train

ENTRY: dict[str, Any] = {
    "net": {"family": "resmlp", "width": 16, "depth": [1, 2, 3]},
    "rules": "depth_mup",
    "base": {"width": 16, "depth": 2},
    "optim": {"kind": "adam", "log2_lr": [-6, -5], "batch": 16, "steps": 600},
    "task": "digits",
    "seed": [1, 2, 3, 4],
}
RUNS, STACK = 24, 3  # so many runs, at most so many in a stack
NOTEBOOK = store.ROOT / "notebooks" / "sweep.ipynb"
TABLE, LOCK = "artifacts/sweep/tiny.csv", "build/journal/artifacts/sweep/tiny.lock"


def victim(root: str, log: str, workers: int = 1, event: str = "", number: int = 0) -> None:
    """What the cells of notebooks/sweep.ipynb do, below another root, in small stacks. It dies
    before its number-th touch of the disk (or before that many events of one kind)."""
    store.ROOT, plan.FLIGHT = Path(root), 1.5e8
    os.dup2(2, 1)
    engine.work = partial(counted, log, engine.work)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if "outputs" in cell]
    code = "\n".join("".join(cell["source"]) for cell in cells if not cell["metadata"].get("tags"))
    machine = {"workers": workers, "bar": "text"}
    if number:
        sys.addaudithook(fatal(root, event, number))
    try:
        exec(code, {"name": "tiny", "entry": ENTRY, "root": "artifacts", "machine": machine})
    except Refused as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def counted(log: str, work: Callable[..., Any], runs: list[Any], *rest: Any) -> Any:
    """Work on a stack, leaving a letter for each run that was begun."""
    with Path(log).open("a") as file:
        file.write("x" * len(runs))
    return work(runs, *rest)


def fatal(root: str, kind: str, number: int) -> Callable[[str, tuple[Any, ...]], None]:
    """A hook that kills its process before the number-th touch of a file below root."""
    touched = iter(range(1, number))

    def hook(event: str, about: tuple[Any, ...]) -> None:
        disk = event in ("open", "os.mkdir", "os.rename", "os.remove")
        here = disk and (kind or event) == event and str(about[0]).startswith(root)
        if here and next(touched, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def serve() -> None:
    """Fork a victim for every line of JSON on stdin; one line on stdout says how it ended."""
    torch.set_num_threads(1)
    train(grid(ENTRY)[:1], steps=1)
    orphans: list[psutil.Process] = []
    for line in sys.stdin:
        about, who, lines, after = json.loads(line)
        process = multiprocessing.get_context("fork").Process(target=victim, kwargs=about)
        process.start()
        aimed = False
        while process.is_alive() and not aimed:
            process.join(0.002)
            aimed = count(about["root"]) >= lines and (who == "parent" or bool(hands(process.pid)))
        process.join(after)
        if process.exitcode is None:
            orphans += hands(process.pid)
            for one in hands(process.pid)[:1] if who == "worker" else [process]:
                one.kill()
        process.join(60)
        print(process.exitcode, flush=True)
    for one in filter(psutil.Process.is_running, orphans):
        one.kill()


def count(root: str) -> int:
    journal = Path(root, LOCK).with_suffix(".jsonl")
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def hands(parent: int | None) -> list[psutil.Process]:
    """The worker processes of a sweep."""
    there = [one for one in psutil.process_iter(["ppid", "cmdline"]) if one.info["ppid"] == parent]
    return [one for one in there if "LokyProcess" in " ".join(one.info["cmdline"] or [])]


class Ground:
    """Where victims run: the same command again and again, below one root."""

    def __init__(self, folder: Path) -> None:
        self.root, self.said = folder / "0", (folder / "stderr").open("w")
        words, pipe = [sys.executable, __file__], subprocess.PIPE
        self.server = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=self.said, text=True)
        self.command()
        self.whole, start = (self.root / TABLE).read_bytes(), time.perf_counter()
        self.begin_anew()
        assert self.command() == 0, (folder / "stderr").read_text()
        self.seconds = time.perf_counter() - start

    def begin_anew(self) -> None:
        """Go where nothing was ever trained."""
        self.root = self.root.with_name(str(int(self.root.name) + 1))

    def command(
        self, who: str = "parent", lines: int = 0, after: float = 60, **about: int | str
    ) -> int:
        """How the command ends (0, 2, -9), where someone is killed a moment after the journal
        has so many lines."""
        assert self.server.stdin and self.server.stdout
        places = {"root": str(self.root), "log": f"{self.root}.log"}
        print(json.dumps([about | places, who, lines, after]), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def is_as_if_nothing_had_happened(self, kills: int, at_once: int, story: object) -> None:
        """The table is that of an undisturbed sweep, no other file is left but a lock nobody
        holds, and each kill cost no more than the stacks in flight."""
        there = {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()}
        assert there == {TABLE, LOCK}, story
        assert (self.root / TABLE).read_bytes() == self.whole, story
        begun = Path(f"{self.root}.log").stat().st_size
        assert RUNS <= begun <= RUNS + kills * at_once * STACK, story


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("ground"))
    yield ground
    ground.server.communicate()
    ground.said.close()


def killed(ground: Ground, kills: int, seed: int, workers: int = 1, who: str = "parent") -> None:
    """One sweep after the other is killed at random moments, and again until it is done, until
    there were so many kills in all."""
    chance, at_once = random.Random(seed), 1 if workers == 1 else 2 * workers
    while kills > 0:
        ground.begin_anew()
        code, story = -1, [f"seed {seed}, killed after lines and seconds"]
        while code != 0:
            early, late = chance.uniform(0, ground.seconds), chance.uniform(0, 0.1)
            moment = (0, early) if workers == 1 else (chance.randrange(RUNS), late)
            code = ground.command(who, *moment, workers=workers)
            story.append(str(moment))
            assert code in (0, -signal.SIGKILL if who == "parent" else 2), story
        kills -= len(story) - 2
        ground.is_as_if_nothing_had_happened(len(story) - 2, at_once, story)


def test_killed_at_random_moments_a_sweep_goes_on_to_the_same_table(ground: Ground) -> None:
    killed(ground, 3, seed=1)


@pytest.mark.parametrize("event", ["os.rename", "os.remove"])
def test_killed_while_the_table_is_put_in_place_a_sweep_goes_on(ground: Ground, event: str) -> None:
    ground.begin_anew()
    assert ground.command(event=event, number=1) == -signal.SIGKILL
    assert ground.command() == 0
    ground.is_as_if_nothing_had_happened(0, 1, event)


@pytest.mark.slow
def test_killed_before_any_touch_of_the_disk_a_sweep_goes_on(ground: Ground) -> None:
    number, code = 0, -signal.SIGKILL
    while code != 0:
        ground.begin_anew()
        number += 1
        code = ground.command(number=number)
        assert code in (0, -signal.SIGKILL)
        assert ground.command() == 0
        ground.is_as_if_nothing_had_happened(1, 1, number)
    assert number > RUNS / STACK


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "workers", "who"), [(92, 1, "parent"), (5, 2, "parent"), (4, 2, "worker")]
)
def test_killed_a_hundred_times_a_sweep_goes_on_to_the_same_table(
    ground: Ground, kills: int, workers: int, who: str
) -> None:
    killed(ground, kills, seed=kills, workers=workers, who=who)


def test_a_journal_belongs_to_one_process_at_a_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.Journal("sweep/some")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(store, "_HELD", {})  # what another process knows
        with pytest.raises(Refused) as caught:
            store.Journal("sweep/some")
        store.Journal("sweep/some", "build/retrained").close()
    message = str(caught.value)
    assert message.startswith(f"artifacts/sweep/some: process {os.getpid()} is working on it")
    assert f"kill {os.getpid()}" in message and "\n" not in message
    first.keep([{"key": "a"}])
    first.close()
    store.Journal("sweep/some").close()


def test_a_full_disk_is_an_error_of_the_disk_and_takes_nothing_away(root: Path) -> None:
    journal, place, rows = store.Journal("sweep/some"), store.place("sweep/some"), [{"key": "a"}]
    store.write(pd.DataFrame(rows), "sweep/some")
    before = place.read_bytes()
    (root / "build/journal/artifacts/sweep/some.jsonl").symlink_to("/dev/full")
    place.with_name(f".{place.name}.{os.getpid()}").symlink_to("/dev/full")
    for write in (partial(journal.keep, rows), partial(store.write, pd.DataFrame(), "sweep/some")):
        with pytest.raises(OSError, match="No space left") as caught:
            write()
        assert caught.value.errno == errno.ENOSPC
    assert place.read_bytes() == before
    assert [path.name for path in place.parent.iterdir()] == ["some.csv"]


ARRAYS = {"curve": np.array([[0.1, np.inf, np.nan]]), "state_0000": np.arange(6, dtype=np.float32)}


def test_a_checkpoint_cut_short_or_garbled_counts_as_none(root: Path) -> None:
    checkpoint = store.Journal("sweep/some").checkpoint("a", "mlp 2")
    checkpoint.save(ARRAYS)
    path = next(root.rglob("*.npz"))
    whole = path.read_bytes()
    middle = whole.index(ARRAYS["state_0000"].tobytes())
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for said in (b"junk", flipped, *(whole[:cut] for cut in range(0, len(whole), 37))):
        path.write_bytes(said)
        assert checkpoint.load() is None


class Trap:
    """What unpickles by making a folder."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sprung),)


def test_a_checkpoint_is_never_unpickled(root: Path) -> None:
    checkpoint, trap = store.Journal("sweep/some").checkpoint("a"), Trap(root / "sprung")
    checkpoint.save(ARRAYS)
    path = next(root.rglob("*.npz"))
    np.savez(path, curve=np.array([trap], dtype=object))
    assert checkpoint.load() is None
    path.write_bytes(pickle.dumps(trap))
    assert checkpoint.load() is None
    assert not trap.sprung.exists()
    pickle.loads(path.read_bytes())
    assert trap.sprung.exists()


if __name__ == "__main__":
    serve()
