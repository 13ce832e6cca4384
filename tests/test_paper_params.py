"""The papers' own size is written in the form that the engines take, but for data yet to come."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fathom import law, store
from fathom.spec import TASKS, Law, Probe, Run, grid, limits, settings
from fathom.store import ROOT
from ruamel.yaml import YAML

PARAMS: dict[str, Any] = YAML(typ="safe").load((ROOT / "paper" / "params.yaml").read_text())
LAPTOP: dict[str, Any] = store.params()
ENTRIES = [(engine, name) for engine in ("sweep", "probe") for name in PARAMS[engine]]
LAWS = [
    name
    for name, said in LAPTOP["law"].items()
    if said["reads"].split("/")[0] in PARAMS and said["reads"].split("/")[1] in PARAMS["sweep"]
]


def grids(engine: str, name: str) -> list[dict[str, Any]]:
    entry: Any = PARAMS[engine][name]
    entry = settings(Probe, entry, name).runs if engine == "probe" else entry
    return [entry] if "net" in entry else list(entry.values())


@cache
def runs(engine: str, name: str) -> list[Run]:
    """The runs of an entry, on digits in place of the data that come later."""
    return grid([{**one, "task": "digits"} for one in grids(engine, name)], name)


@pytest.mark.parametrize(("engine", "name"), ENTRIES)
def test_an_entry_at_the_papers_size_is_a_grid(engine: str, name: str) -> None:
    found, wide = runs(engine, name), ("tp6_width", "tp6_layer_sizes")
    assert name in wide or {run.net.width for run in found} == {256}
    assert len({run.seed for run in found}) >= 5
    assert name in LAPTOP[engine], "the same notebooks, under the same names"


def test_its_limits_are_those_of_its_networks() -> None:
    (one,) = grids("probe", "tp6_layer_sizes")
    found, deep = (
        limits({**PARAMS["limit"][name], "task": "digits_mse"}, "paper")
        for name in ("tp6_layer_sizes_64", "tp6_layer_sizes")
    )
    assert {run.seed for run in found} == {run.seed for run in runs("probe", "tp6_layer_sizes")}
    assert {run.depth for run in found} == {one["net"]["depth"]}
    assert {run.depth for run in deep} > {one["net"]["depth"]}


def test_its_data_come_later() -> None:
    said = {one["task"] for engine, name in ENTRIES for one in grids(engine, name)}
    assert said == {"cifar10", "mnist"}
    assert not said & set(TASKS), "it has a loader now: let the entries be run, and drop this"


def test_figure_10_is_swept_over_the_papers_rates_and_steps() -> None:
    found = [run for run in runs("sweep", "tp6_resmlp") if run.rules == "mup"]
    rates = sorted({run.optim.log2_lr for run in found})
    assert (len(rates), rates[0] + 10, rates[-1] + 10) == (14, -2, 4.5)
    assert {run.optim.steps for run in found} == {39060}
    assert max(run.net.depth for run in found) == 2**10


@pytest.mark.parametrize("name", LAWS)
def test_the_laptops_laws_can_be_read_off_the_papers_size(name: str) -> None:
    """Every cell of a law is one curve: two runs of a cell at one rate would raise."""
    given = {**LAPTOP["law"][name], **PARAMS["law"].get(name, {})}
    said = settings(Law, given, name)
    found = [run for run in runs("sweep", said.reads.split("/")[1]) if run.seed % 10 in (1, 2)]
    table = pd.DataFrame([run.row() for run in found])
    middle = 2.0 if said.over == "log2_gain" else table["log2_lr"].mean()
    place = np.log2(table["gain"]) if said.over == "log2_gain" else table["log2_lr"]
    table[said.metric] = np.exp(0.01 * (place - middle) ** 2 - 1)
    derived = law.DERIVED[said.derive](table, **said.options())
    assert len(derived) == len(derived.drop_duplicates([*said.by, "seed"]))
    if said.derive == "transfer":
        depth = derived["depth"] == said.anchor["depth"]
        assert derived.loc[depth, "regret"].notna().all(), "nothing is tuned at the anchor"
