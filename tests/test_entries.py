"""Entries of params.yaml: how large they may be, grids by name, and that nothing moved."""

import hashlib
import itertools
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRuns
from dvc.utils.hydra import apply_overrides
from fathom import commands, store
from fathom.commands import checked, entry, grids, trained
from fathom.spec import Limit, Refused, Run, count, grid, limits
from fathom.spec import grid as build
from fathom.spec.grid import MOST
from fathom.store import ROOT
from fathom.sweeps.plan import span, swept
from ruamel.yaml import YAML

SMALL: dict[str, Any] = {
    "net": {"family": "resmlp", "width": 16, "depth": 2},
    "rules": "mup",
    "base": {"width": 16, "depth": 2},
    "optim": {"kind": "sgd", "log2_lr": -4, "batch": 16, "steps": 4},
    "task": "digits",
    "seed": 1,
}
LIMIT: dict[str, Any] = {"rules": "mup", "depth": 2, "log2_lr": 0, "steps": 1}
LIMIT |= {"task": "digits_mse", "seed": [1, 2]}


def large(seeds: int) -> dict[str, Any]:
    """401 rates, two depths and some seeds."""
    optim = {**SMALL["optim"], "log2_lr": {"range": [-100, 100, 0.5]}}
    net = {**SMALL["net"], "depth": [2, 4]}
    return {**SMALL, "net": net, "optim": optim, "seed": {"range": [1, seeds]}}


def refused(said: object, what: Any = grid) -> str:
    with pytest.raises(Refused) as caught:
        what(said, "params.yaml sweep.some")
    message = str(caught.value)
    assert message.startswith("params.yaml sweep.some") and "\n" not in message
    return message


def test_a_grid_is_what_its_combinations_are_one_by_one() -> None:
    axes: dict[str, list[Any]] = {"seed": [1, 2], "width": [16, 32], "rules": ["mup", "sp"]}
    axes |= {"log2_lr": [-4, -3.5], "depth": [2, 3], "task": ["digits", "digits_mse"]}
    net = {"family": "resmlp", "width": axes["width"], "depth": axes["depth"]}
    optim = {**SMALL["optim"], "log2_lr": axes["log2_lr"]}
    said = {"seed": axes["seed"], "net": net, "rules": axes["rules"], "base": SMALL["base"]}
    said |= {"optim": optim, "task": axes["task"]}
    order = ("seed", "width", "depth", "rules", "log2_lr", "task")
    expected = []
    for seed, width, depth, rules, rate, task in itertools.product(*(axes[k] for k in order)):
        one = {**SMALL, "seed": seed, "rules": rules, "task": task}
        one["net"] = {**SMALL["net"], "width": width, "depth": depth}
        one["optim"] = {**SMALL["optim"], "log2_lr": rate}
        expected.append(Run.model_validate(one))
    found = grid(said)
    assert found == expected
    assert [run.model_dump() for run in found] == [run.model_dump() for run in expected]


def test_a_key_is_the_digest_of_what_is_not_at_its_default(make_runs: MakeRuns) -> None:
    changes: list[dict[str, Any]] = [{}, {"gain": 1.0}, {"gain": 2.0, "seed": 0}]
    changes += [{"rules": "alpha(0.5, 0.25)", "phi": "kink(-0.5)"}, {"log2_lr_ends": -4}]
    for run in (one for change in changes for one in make_runs(**change)):
        said = json.dumps(run.model_dump(exclude_defaults=True), sort_keys=True)
        assert run.key == hashlib.sha256(said.encode()).hexdigest()[:12]
        assert run.model_copy(update={"seed": 99}).key != run.key, "it is not kept beside a copy"


@pytest.mark.parametrize(("engine", "name"), trained(None))
def test_an_entry_names_the_runs_of_its_table(engine: str, name: str) -> None:
    runs, _ = checked(engine, name)
    keys = [run.key for run in runs]
    assert count(*grids(engine, name)[:2]) == len(keys) == len(set(keys))
    assert set(keys) == set(store.read(f"{engine}/{name}")["key"])


def test_more_runs_than_an_entry_may_have_are_counted_and_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Run, "model_validate", lambda *_: pytest.fail("made"))
    for what in (grid, count):
        message = refused(large(3000), what)
        assert "2406000 runs (2 depth x 401 log2_lr x 3000 seed)" in message
        assert f"at most {MOST} are allowed" in message
    assert count(large(300)) == 240600 <= MOST
    both = refused({"few": SMALL, "many": large(3000)})
    assert "2406001 runs (params.yaml sweep.some.many alone 2406000, 2 depth" in both
    three = [{**large(300), "task": task} for task in ("digits", "digits_sum", "digits_mse")]
    assert "721800 runs" in refused(three, count)
    assert "250000" in refused({**LIMIT, "seed": {"range": [1, 200_000]}, "depth": [2, 4]}, limits)


@pytest.mark.parametrize("ends", [[1, 10**12], [0, 1e300], [0, 1, 1e-12], [0, 1, 5e-324]])
def test_a_range_is_counted_before_it_is_made(ends: list[float]) -> None:
    message = refused({**SMALL, "seed": {"range": ends}})
    assert message.startswith("params.yaml sweep.some.seed: the range") and "shorter" in message


def test_grids_by_name_are_the_union_of_their_list() -> None:
    other = {**SMALL, "task": "digits_mse", "seed": [1, 2]}
    assert grid({"clean": SMALL, "squared": other}) == grid([SMALL, other])
    named = {"first": LIMIT, "second": {**LIMIT, "depth": 4}}
    assert limits(named) == limits(list(named.values()))
    assert isinstance(limits(named)[0], Limit)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"a": SMALL, "b": {**SMALL, "rules": "mpu"}}, ".b.rules: 'mpu' is not one of"),
        ({"a": SMALL, "b": SMALL}, ".b: the run (resmlp, mup, relu, width 16, depth 2"),
        ({"a": SMALL, "b": 3}, ".b: found 3; give a mapping with net, rules"),
        ({"a": SMALL, "b": {}}, ".b: net is missing"),
        ({"a": SMALL, "b": [SMALL]}, ".b: found [{"),
        ({"a": {**SMALL, "nett": 3}}, ".a.nett: nett is not one of net, rules"),
        ({"a": SMALL, "net": SMALL["net"]}, ".a: a is not one of net, rules"),
        ({"nett": SMALL["net"], "rules": "mup"}, ".nett: nett is not one of net, rules"),
        ({"nett": SMALL["net"]}, ".nett: nett is not one of net, rules"),
        ({"a": {"b": SMALL}}, ".a: a is not one of net, rules"),
        ({3: SMALL, "b": {**SMALL, "seed": -1}}, ".b.seed: -1 is not allowed"),
        ({}, ": net is missing"),
    ],
)
def test_what_is_wrong_with_a_named_grid_is_said_by_its_name(said: object, says: str) -> None:
    assert refused(said).startswith(f"params.yaml sweep.some{says}")


def test_dvc_can_change_one_grid_of_every_entry(tmp_path: Path) -> None:
    """What `dvc exp run -S` does to params.yaml, for the first grid of every entry."""
    places = []
    for engine, name in trained(None):
        said, place, _ = grids(engine, name)
        inner = ("",) if "net" in dict(said) else tuple(f".{one}" for one in dict(said))  # pyright: ignore
        places.append(f"{place.removeprefix('params.yaml ')}{inner[0]}.seed.range")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(tmp_path / "params.yaml", [f"{place}=[901,903]" for place in places])
    changed = YAML(typ="safe", pure=True).load(tmp_path / "params.yaml")
    for (engine, name), place in zip(trained(None), places, strict=True):
        said = changed[engine][name]
        runs = build(said["runs"] if engine == "probe" else said, place)
        assert {901, 902, 903} <= {run.seed for run in runs}
        assert entry(engine, name) != said


def test_a_time_is_told_in_words() -> None:
    said = [span(seconds) for seconds in (2, 90, 91, 7200, 7201, 360_000)]
    assert said == [
        *("2.0 seconds", "90.0 seconds", "1.5 minutes", "120.0 minutes"),
        *("2.0 hours", "100.0 hours"),
    ]


def test_the_grid_of_runs_is_told_once_for_each_field(make_runs: MakeRuns) -> None:
    runs = make_runs(depth=[2, 4], phi=["relu", "abs"], log2_lr=[-4, -3, -2, -1], seed=[3, 1])
    runs += make_runs(depth=8, schedule="cosine", warmup=1, seed=[2, 1])
    said = swept(runs)
    for line in ("depth: 2, 4, 8", "phi: relu, abs", "log2_lr: -4 to -1", "seed: 1, 2, 3"):
        assert line in said
    assert "schedule: constant, cosine" in said and "warmup: 0, 1" in said
    gaps = make_runs(seed=[1, 2, 3, 4, 7, 9, 11, 13, 15, 20])
    assert "seed: 1 to 4, 7 to 15 by 2, 20" in swept(gaps)
    assert not [line for line in said if line.startswith(("gain", "decay", "log2_lr_ends"))]


def test_a_large_entry_is_counted_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = large(300)
    monkeypatch.setattr(commands, "entries", lambda kind: {"big": said} if kind == "sweep" else {})

    def stop(*_: object) -> None:
        assert capsys.readouterr().out.startswith("sweep.big: 240600 runs; ")
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "checked", stop)
    for what in (partial(commands.plan, "big"), partial(commands.engine, "sweep", "big")):
        with pytest.raises(KeyboardInterrupt):
            what()
    said["seed"] = {"range": [1, 3000]}
    for what in (partial(commands.plan, None), partial(commands.engine, "sweep", "big")):
        with pytest.raises(Refused, match=r"params.yaml sweep.big: 2406000 runs"):
            what()
