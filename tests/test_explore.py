"""The notebook for playing: choices make entries, training shows as it goes and can be stopped."""

from typing import Any

import pytest
from conftest import MakeRuns
from fathom import explore
from fathom.explore import Explorer, panel
from fathom.spec import Refused, grid
from ruamel.yaml import YAML

CHOICES: dict[str, Any] = {
    "family": "resmlp", "rules": ["mup", "depth_mup"], "phi": "relu", "width": 16,
    "depths": [4, 8, 16], "task": "digits", "optimizer": "adam",
    "first_rate": -9, "last_rate": -5, "seeds": 2, "steps": 3, "batch": 16,
}  # fmt: skip


def test_the_entry_that_is_written_holds_the_runs_that_were_trained() -> None:
    explorer = Explorer(**CHOICES)
    said = YAML(typ="safe").load(explorer.yaml())[explore.NAME]
    assert grid(said, "entry") == grid(explorer.entry(), "choices")
    assert len(grid(said, "entry")) == 2 * 3 * 9 * 2


def test_training_shows_every_stack_and_ends_with_a_drift_and_a_picture() -> None:
    explorer, seen = Explorer(**CHOICES), list[int]()
    explorer.train(lambda: seen.append(len(explorer.rows)))
    assert len(seen) > 2 and seen == sorted(seen) and seen[-1] == 108
    assert set(explorer.drifts()) == {"mup", "depth_mup"}
    assert explorer.picture().svg.count("<svg") == 1


def test_a_part_of_the_runs_can_be_drawn_and_stopping_keeps_them() -> None:
    explorer = Explorer(**CHOICES)

    def stop() -> None:
        explorer.picture()
        explorer.stop = True

    explorer.train(stop)
    assert 0 < len(explorer.rows) < 108


def test_an_interrupt_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, keep: Any, **__: Any) -> None:
        keep([{"key": "one"}])
        raise KeyboardInterrupt

    monkeypatch.setattr(explore, "sweep", interrupted)
    explorer = Explorer(**CHOICES)
    explorer.train()
    assert explorer.rows == [{"key": "one"}]


def test_too_few_depths_or_seeds_say_so() -> None:
    assert "three depths" in Explorer(**{**CHOICES, "depths": [4, 8]}).drifts()["mup"]
    assert "two seeds" in Explorer(**{**CHOICES, "seeds": 1}).drifts()["mup"]


def test_what_it_takes_is_a_sentence_and_what_cannot_be_is_refused() -> None:
    assert Explorer(**CHOICES).cost().startswith("108 runs, about ")
    with pytest.raises(Refused, match="text"):
        Explorer(**{**CHOICES, "task": "text"}).cost()


def test_the_panel_follows_its_controls(make_runs: MakeRuns) -> None:
    explorer = Explorer(**CHOICES)
    box: Any = panel(explorer, "build/test")
    left, right = box.children
    words = right.children[2]
    named = {one.description: one for one in left.children}
    named["seeds"].value = 1
    assert explorer.choices["seeds"] == 1 and words.value == "54 runs"
    named["task"].value = "text"
    assert "color:#b00" in words.value and "text" in words.value
