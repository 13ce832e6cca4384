"""How runs are cut into stacks: by what they are and the memory allowed, and by nothing else."""

import json
import re
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from conftest import MakeRuns
from fathom import commands, store
from fathom.networks.stack import shape, truncated
from fathom.spec import Machine, Refused, Run
from fathom.sweeps import sweep as engine
from fathom.sweeps.plan import PROCESS, estimate, forecast, memory, stacked, swept, workers_allowed
from fathom.sweeps.sweep import sweep
from fathom.training.train import SAVED, cost

PLENTY = Machine(workers=1, memory_gib=1000, device="cpu")


def room_for(count: int, runs: list[Run], workers: int = 1, measure: str = "train") -> Machine:
    """A machine whose memory holds so many of these runs in every worker, and half of another."""
    one, two = memory(runs[:1], measure), memory(runs[:2], measure)
    share = one + (count - 0.5) * (two - one)
    gib = workers * (PROCESS + share / 2**30)
    return Machine(workers=workers, memory_gib=gib, device="cpu")


@pytest.fixture
def mixed(make_runs: MakeRuns) -> list[Run]:
    """Runs of many shapes, for both ways of training, one after another."""
    ways = [{"phi": "relu"}, {"decay": 0.1}, {"norm": "layer"}, {"family": "mlp", "decay": 0.1}]
    size = {"depth": [1, 2], "rules": ["mup", "sp"], "base_width": [8, 16], "seed": [1, 2, 3]}
    return [run for way in ways for run in make_runs(**way, **size, kind="adam")]


def test_every_run_is_in_one_stack_and_a_stack_has_one_shape(mixed: list[Run]) -> None:
    stacks = stacked(mixed, machine=PLENTY)
    assert sorted(run.key for one in stacks for run in one) == sorted(run.key for run in mixed)
    assert all(len({shape(run) for run in one}) == 1 for one in stacks)
    assert len(stacks) == len({shape(run) for run in mixed}) == len(mixed) / 3


@pytest.mark.parametrize("change", [{"rules": "sp"}, {"base_width": 8}, {"base_depth": 1}])
def test_runs_that_scale_otherwise_are_in_other_stacks(
    make_runs: MakeRuns, change: dict[str, Any]
) -> None:
    # under autograd a stack has one number for each of Adam's epsilons
    runs = [*make_runs(decay=0.1, kind="adam"), *make_runs(decay=0.1, kind="adam", **change)]
    assert [len(one) for one in stacked(runs, machine=PLENTY)] == [1, 1]
    same = make_runs(decay=0.1, kind="adam", log2_lr=[-6, -4], gain=[1.0, 2.0], seed=[1, 2])
    assert [len(one) for one in stacked(same, machine=PLENTY)] == [8]


def test_one_training_is_in_one_stack_with_all_the_steps_at_which_it_is_looked_at(
    make_runs: MakeRuns,
) -> None:
    runs = make_runs(phi="tanh", width=256, depth=32, steps=[3, 1, 2], seed={"range": [1, 7]})
    for measure in ("diversity", "layer_sizes"):
        for machine in (PLENTY, room_for(7, runs, measure=measure)):
            stacks = stacked(runs, measure, machine)
            assert sorted(run.key for one in stacks for run in one) == sorted(r.key for r in runs)
            assert len(stacks) > 1
            assert all(
                sorted(r.optim.steps for r in one) == sorted([1, 2, 3] * (len(one) // 3))
                for one in stacks
            )
    steps = [{run.optim.steps for run in one} for one in stacked(runs, "coordinates", PLENTY)]
    assert all(len(one) == 1 for one in steps)
    found = estimate(runs[:3], "layer_sizes", PLENTY)
    assert found[["steps", "runs"]].to_numpy().tolist() == [[3, 3]]


def test_a_stack_is_counted_in_networks_however_often_each_is_looked_at(
    make_runs: MakeRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    size: dict[str, Any] = {"phi": "tanh", "width": 256, "depth": 32}
    runs = make_runs(**size, steps=[1, 2, 3], seed=1)
    runs += make_runs(**size, steps=3, seed={"range": [2, 29]})
    for measure, looks in (("diversity", True), ("layer_sizes", False)):
        one, three = (memory(runs[2 - more : 3], measure) for more in (0, 2))
        assert (three > one) == looks  # a layer's size is kept, not the network
        stacks = stacked(runs, measure, PLENTY)
        networks = [{truncated(run).key for run in one} for one in stacks]
        assert [len(one) for one in networks] == [4] * 7 + [1]
        assert len(set().union(*networks)) == 29
    gib = PROCESS + 1.01 * memory(runs[:4], "diversity") / 2**30  # seeds 1 and 2
    few = stacked(runs, "diversity", Machine(workers=1, memory_gib=gib, device="cpu"))
    assert "stacks of 2 instead of 4" in capsys.readouterr().err
    assert max(len({truncated(run).key for run in one}) for one in few) == 2


def test_the_same_runs_are_cut_into_the_same_stacks(mixed: list[Run]) -> None:
    small = room_for(1, max(stacked(mixed, machine=PLENTY), key=memory))
    for machine in (PLENTY, small):
        assert stacked(mixed, machine=machine) == stacked(mixed, machine=machine)
    assert stacked(mixed, machine=small) != stacked(mixed, machine=PLENTY)


@pytest.mark.parametrize(("width", "batch"), [(24, 32), (32, 24), (17, 17)])
def test_under_autograd_sizes_that_are_no_multiple_of_16_go_one_by_one(
    make_runs: MakeRuns, width: int, batch: int
) -> None:
    def sizes(measure: str = "train", **changes: Any) -> list[int]:
        runs = make_runs(**{"width": width, "batch": batch, "seed": [1, 2], **changes})
        return [len(one) for one in stacked(runs, measure, PLENTY)]

    ways: list[dict[str, Any]] = [{"decay": 0.1}, {"decay": 0.1, "norm": "layer"}]
    for changes in ways:
        assert sizes(**changes) == [1, 1]
        assert sizes(**changes, width=32, batch=32) == [2]
    assert sizes() == [2]
    assert sizes("one_step") == [1, 1]
    assert sizes("one_step", width=32, batch=32) == [2]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_run_dearer_than_the_time_between_checkpoints_is_alone(
    make_runs: MakeRuns, decay: float
) -> None:
    size: dict[str, Any] = {"decay": decay, "width": 64, "depth": 64, "batch": 64, "seed": [1, 2]}
    step = cost(make_runs(**size, steps=1)[0])
    cheap = make_runs(**size, steps=int(SAVED / step / 100))
    dear = make_runs(**size, steps=int(SAVED / step) + 1)
    assert [len(one) for one in stacked(cheap, machine=PLENTY)] == [2]
    assert [len(one) for one in stacked(dear, machine=PLENTY)] == [1, 1]


@pytest.mark.parametrize("net", [{"phi": "relu"}, {"decay": 0.1}])
def test_little_memory_makes_smaller_stacks_and_the_same_bytes_and_says_so(
    make_runs: MakeRuns, capsys: pytest.CaptureFixture[str], net: dict[str, Any]
) -> None:
    runs = make_runs(**net, log2_lr=[-6, 60], seed=[1, 2, 3])
    little = room_for(2, runs)
    assert [len(one) for one in stacked(runs, machine=PLENTY)] == [6]
    assert "instead of" not in capsys.readouterr().err
    assert [len(one) for one in stacked(runs, machine=little)] == [2, 2, 2]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"width 16, depth 2: stacks of 2 instead of 32, to stay within {little.memory_gib:g} GiB"
    ]
    assert store.text(sweep(runs, machine=little)) == store.text(sweep(runs, machine=PLENTY))


def test_as_many_workers_hold_a_run_as_memory_allows(make_runs: MakeRuns) -> None:
    runs = make_runs(seed=[1, 2])
    for workers in (1, 2, 5):
        gib = room_for(1, runs, workers).memory_gib
        for asked in (workers, workers + 3):
            machine = Machine(workers=asked, memory_gib=gib, device="cpu")
            assert workers_allowed(runs, "train", machine) == workers


def test_a_run_that_does_not_fit_is_refused_before_anything_is_trained(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "work", lambda *job: pytest.fail("trained"))
    runs = [*make_runs(), *make_runs(width=64, depth=3)]
    enough = Machine(workers=1, memory_gib=PROCESS + memory(runs[1:]) / 2**30 + 1e-6)
    assert len(stacked(runs, machine=enough)) == 2
    little = Machine(workers=1, memory_gib=PROCESS + memory(runs[1:]) / 2**30 - 1e-6)
    with pytest.raises(Refused) as caught:
        sweep(runs, machine=little)
    message = str(caught.value)
    assert message.startswith("width 64, depth 3: one run needs 0.5 GiB and 0.5")
    assert message.endswith("give a larger --memory-gib, or a smaller width, depth or batch")
    assert re.search(r"\.\s|\.$|\n", message) is None, "one sentence"
    flags = re.findall(r"--([a-z-]+)", message)
    assert {flag.replace("-", "_") for flag in flags} <= set(Machine.model_fields)


@pytest.mark.parametrize("measure", ["train", "one_step"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_memory_grows_with_what_is_held(make_runs: MakeRuns, decay: float, measure: str) -> None:
    small = memory(make_runs(decay=decay), measure)
    for change in ({"width": 32}, {"depth": 4}, {"batch": 512}, {"seed": [1, 2]}):
        assert memory(make_runs(decay=decay, **change), measure) > small


GROWTH = """
import json, os, resource, sys, torch
from fathom.sweeps import plan, sweep
from fathom.spec import grid

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for small, large, measure in json.loads(sys.argv[1]):
    if os.fork() == 0:
        sweep.work(grid(small), measure, "cpu")  # loads what is loaded once
        before, runs = peak(), grid(large)
        sweep.work(runs, measure, "cpu")
        print(plan.memory(runs, measure) / (peak() - before), flush=True)
        os._exit(0)
    os.wait()
"""
DEEP: dict[str, Any] = {"family": "resmlp", "width": 512, "depth": 16}
TEXT: dict[str, Any] = {"family": "lm", "width": 256, "depth": 4, "phi": "gelu"}
STACKS: dict[str, tuple[dict[str, Any], str, int, str]] = {
    "one compiled": ({**DEEP, "phi": "relu"}, "digits", 1, "train"),
    "compiled": ({**DEEP, "phi": "relu"}, "digits", 4, "train"),
    "autograd": ({**DEEP, "phi": "relu"}, "digits", 2, "train"),
    "one transformer": (TEXT, "text", 1, "train"),
    "sizes of transformers": ({**TEXT, "width": 64}, "text", 2, "sizes"),
    "coordinates of a transformer": ({**TEXT, "width": 64}, "text", 1, "coordinates"),
}


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    """The memory estimated for a stack over what its process grows by at its peak."""
    pairs = []
    for name, (net, task, count, measure) in STACKS.items():
        entry: dict[str, Any] = {"rules": "mup", "base": {"width": 16, "depth": 2}}
        entry["optim"] = {"kind": "adam", "log2_lr": -10, "batch": 16, "steps": 2}
        entry["optim"] |= {"decay": 0.1} if name == "autograd" else {}
        entry |= {"task": task, "seed": list(range(count))}
        sizes = ({"width": 16, "depth": 2}, {})
        pairs.append([*({**entry, "net": {**net, **size}} for size in sizes), measure])
    words = [sys.executable, "-c", GROWTH, json.dumps(pairs)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return dict(zip(STACKS, map(float, said.split()), strict=True))


@pytest.mark.parametrize("name", STACKS)
def test_the_memory_of_a_stack_is_not_below_what_it_takes_and_not_thrice_that(
    measured: dict[str, float], name: str
) -> None:
    assert 1 < measured[name] < 3


def test_an_estimate_has_a_row_per_size_and_sums_its_runs(
    make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fathom.sweeps.plan._seconds", lambda runs, measure, machine: 1 + len(runs))
    runs = make_runs(depth=[1, 2], rules=["mup", "sp"], log2_lr=[-6, -5, -4], seed=[1, 2])
    runs += make_runs(depth=2, decay=0.1, seed=[1, 2, 3])
    found = estimate(runs, machine=PLENTY)
    assert found["depth"].tolist() == [1, 2]
    assert found["runs"].tolist() == [12, 15]
    assert found["core_seconds"].tolist() == [
        12 * 2,  # compiled: one run tells
        12 * 2 + 4,  # under autograd the whole stack
    ]
    assert found["workers"].tolist() == [1, 1]
    largest = max(memory(one) for one in stacked(runs, machine=PLENTY) if one[0].net.depth == 2)
    assert found["gib"].iloc[1] == PROCESS + largest / 2**30
    assert forecast(found, PLENTY).startswith("about 52.0 seconds and 0.5 GiB on 1 workers")
    two = Machine(workers=2, memory_gib=1000, device="cpu")
    assert forecast(estimate(runs, machine=two), two).startswith(
        "about 26.0 seconds and 1.0 GiB on"
    )


@pytest.mark.parametrize(("measure", "task"), [("train", "digits"), ("one_step", "gaussian")])
def test_an_estimate_is_measured(make_runs: MakeRuns, measure: str, task: str) -> None:
    _, few, many = (  # the first loads what is loaded once
        estimate(make_runs(family="mlp", task=task, seed={"range": [1, n]}), measure, PLENTY)
        for n in (1, 1, 200)
    )
    assert 0 < few["core_seconds"][0] < many["core_seconds"][0]


def test_a_setting_that_is_off_in_some_runs_is_said_to_be(make_runs: MakeRuns) -> None:
    assert "log2_lr_ends: off, -6" in swept(make_runs(log2_lr_ends=[None, -6]))
    assert not any("ends: off" in line for line in swept(make_runs()))


def test_of_nothing_nothing_is_left_to_do() -> None:
    assert stacked([], machine=PLENTY) == []
    assert forecast(pd.DataFrame(), PLENTY) == "nothing is left to do"


@pytest.mark.parametrize(
    ("width", "batch", "task", "beside"),
    [(16, 32, "fashion7", 8), (8, 32, "fashion14", 4), (8, 128, "fashion14", 4)],
)
def test_convolutions_are_stacked_by_four_where_eight_outgrow_the_cache(
    make_runs: MakeRuns, width: int, batch: int, task: str, beside: int
) -> None:
    net: dict[str, Any] = {"family": "cnn", "width": width, "base_width": 8, "depth": 6}
    runs = make_runs(**net, batch=batch, task=task, seed={"range": [1, 16]})
    sizes = {len(one) for one in stacked(runs, machine=PLENTY)}
    assert sizes == {beside}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("depthwise_training", ("80 cases", "12 trainings by Monte Carlo: about ", " GB")),
        ("depthwise_kernels", ("32 cases, solved on one core\n",)),
    ],
)
def test_a_plan_of_limits_tells_what_monte_carlo_takes(
    name: str, says: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    commands.plan(name)
    said = capsys.readouterr().out
    assert all(one in said for one in says)
    assert ("Monte Carlo" in said) == (name == "depthwise_training")
