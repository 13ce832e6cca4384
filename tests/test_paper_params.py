"""The papers' own size is written in the form that the engines take, but for data yet to come."""

from typing import Any

import pytest
from fathom import store
from fathom.spec import TASKS, Probe, Run, grid, settings
from fathom.store import ROOT
from ruamel.yaml import YAML

PARAMS: dict[str, Any] = YAML(typ="safe").load((ROOT / "paper" / "params.yaml").read_text())
ENTRIES = [(engine, name) for engine, entries in PARAMS.items() for name in entries]


def runs(engine: str, name: str) -> list[Run]:
    """The runs of an entry, on digits in place of the data that come later."""
    entry: Any = PARAMS[engine][name]
    if engine == "probe":
        entry = settings(Probe, entry, name).runs
    grids = entry if isinstance(entry, list) else [entry]
    return grid([{**one, "task": "digits"} for one in grids], name)


@pytest.mark.parametrize(("engine", "name"), ENTRIES)
def test_an_entry_at_the_papers_size_is_a_grid(engine: str, name: str) -> None:
    found = runs(engine, name)
    assert {run.net.width for run in found} == {256}
    assert len({run.seed for run in found}) == 5
    assert name in store.params()[engine], "the same notebooks, under the same names"


def test_its_data_come_later() -> None:
    said = {one["task"] for entry in PARAMS["sweep"].values() for one in _grids(entry)}
    assert said == {"cifar10"}
    assert not said & set(TASKS), "it has a loader now: let the entries be run, and drop this"


def _grids(entry: Any) -> list[dict[str, Any]]:
    return entry if isinstance(entry, list) else [entry]


def test_figure_10_is_swept_over_the_papers_rates_and_steps() -> None:
    found = runs("sweep", "tp6_resmlp")
    rates = sorted({run.optim.log2_lr for run in found})
    assert (len(rates), rates[0] + 10, rates[-1] + 10) == (14, -2, 4.5)
    assert {run.optim.steps for run in found} == {39060}
    assert max(run.net.depth for run in found) == 2**10
