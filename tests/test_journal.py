"""What is known before a sweep: the rows of its table, and those that a killed one left."""

import math
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import table
from fathom import store

pytestmark = pytest.mark.usefixtures("root")


def test_where_nothing_is_written_or_kept_nothing_is_known() -> None:
    assert store.known("sweep/some") is None


def kept(name: str = "sweep/some", root: str = "artifacts") -> list[str]:
    """The keys that are known, in order."""
    found = store.known(name, root)
    return [] if found is None else found["key"].tolist()


def journal_of(root: Path) -> Path:
    return next(root.rglob("*.jsonl"))


def test_known_rows_are_those_of_the_table_and_of_the_journal() -> None:
    store.write(table().head(2), "sweep/some")
    keep = store.Journal("sweep/some").keep
    keep([{"key": "fedcba098765", "loss_mean": math.inf}])
    keep([{"key": "aaaaaaaaaaaa", "loss_mean": 0.1}, {"key": "bbbbbbbbbbbb", "loss_mean": 0.2}])
    found = store.known("sweep/some")
    assert found is not None
    rows = {"fedcba098765": math.inf, "aaaaaaaaaaaa": 0.1, "bbbbbbbbbbbb": 0.2}
    assert found.set_index("key")["loss_mean"].to_dict() == pytest.approx(
        rows | {"0a1b2c3d4e5f": 0.1234568, "1234567890ab": 0.3333333}
    )


def test_rows_of_a_table_made_with_other_versions_are_not_known_but_those_since_are() -> None:
    store.write(table(), "sweep/some")
    assert len(kept()) == len(table())
    path = store.place("sweep/some")
    path.write_text(
        path.read_text().replace(f"torch {version('torch').split('+')[0]}", "torch 1.0", 1)
    )
    assert len(store.read("sweep/some")) == len(table()), "it can be read and drawn"
    assert kept() == []
    store.Journal("sweep/some").keep([{"key": "aaaaaaaaaaaa"}])
    assert kept() == ["aaaaaaaaaaaa"]


def test_a_journal_is_kept_exactly_and_nothing_but_its_lock_is_left_when_it_is_closed(
    root: Path,
) -> None:
    journal = store.Journal("sweep/some")
    journal.keep([{"key": "a", "loss_mean": 0.1 + 0.2}])
    journal.checkpoint("a", "mlp 2").save({"curve": np.zeros(3)})
    found = store.known("sweep/some")
    assert found is not None
    assert found["loss_mean"].tolist() == [0.1 + 0.2]
    journal.close()
    journal.close()
    assert store.known("sweep/some") is None
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["some.lock"]


def test_a_journal_line_cut_short_anywhere_is_skipped_and_the_rest_is_kept(root: Path) -> None:
    store.Journal("sweep/some").keep([{"key": "a", "depth": 4}, {"key": "b", "loss_mean": 0.25}])
    path, whole = journal_of(root), journal_of(root).read_text()
    first, second = whole.splitlines(keepends=True)
    for cut in range(len(second) - 1):
        path.write_text(first + second[:cut])
        assert kept() == ["a"]
        store.Journal("sweep/some").keep([{"key": "c"}])
        assert kept() == ["a", "c"]
    path.write_text(whole[:-1])
    assert kept() == ["a", "b"]


def test_a_journal_line_with_any_character_changed_is_not_believed(root: Path) -> None:
    store.Journal("sweep/some").keep([{"key": "a", "log2_lr": -4.5, "loss_mean": 0.12345678912}])
    path, whole = journal_of(root), journal_of(root).read_text()
    assert kept() == ["a"]
    for i, letter in enumerate(whole.rstrip("\n")):
        path.write_text(whole[:i] + chr(ord(letter) ^ 1) + whole[i + 1 :])
        assert kept() == []


@pytest.mark.parametrize(
    "junk",
    [
        bytes(range(256)),
        b"\x00" * 5000,
        b"\xff\xfe\n\n \n\r\n",
        b'{"key": "b"}\n',
        b"0123456789abcdef \n",
        b'0123456789abcdef {"key": "b"}\n',
    ],
)
def test_junk_in_a_journal_is_skipped_and_the_rows_around_it_are_kept(
    root: Path, junk: bytes
) -> None:
    journal = store.Journal("sweep/some")
    journal.keep([{"key": "a"}])
    with journal_of(root).open("ab") as file:
        file.write(junk)
    journal.keep([{"key": "c"}])
    assert kept() == ["a", "c"]


@pytest.mark.parametrize(
    "said", ["[1, 2]", "3", '"key"', "null", "{bad", "{}", '{"key": ["a"]}', '{"key": 3}']
)
def test_a_journal_line_that_is_no_row_is_skipped_though_its_digest_is_right(
    root: Path, said: str
) -> None:
    store.Journal("sweep/some").keep([{"key": "a"}])
    with journal_of(root).open("a") as file:
        file.write(f"{store._digest(said)} {said}\n")
    assert kept() == ["a"]


def test_journals_of_two_roots_are_apart() -> None:
    store.Journal("sweep/some", "build/retrain").keep([{"key": "a"}])
    store.Journal("sweep/some")
    assert kept() == []
    assert kept(root="build/retrain") == ["a"]


def test_what_a_kill_left_beside_a_table_goes_when_its_sweep_is_done() -> None:
    place = store.place("sweep/some")
    place.parent.mkdir(parents=True)
    for name in ("some.csv", ".some.csv.123", "some_other.csv", ".some_other.csv.123"):
        place.with_name(name).touch()
    store.Journal("sweep/some").close()
    left = {path.name for path in place.parent.iterdir()}
    assert left == {"some.csv", "some_other.csv", ".some_other.csv.123"}


def test_words_that_look_like_code_are_read_as_words() -> None:
    words = ["=cmd|' /C calc'!A0", "__import__('os').abort()", "!!python/name:os.abort"]
    store.write(pd.DataFrame({"task": words}), "sweep/some")
    assert sorted(store.read("sweep/some")["task"]) == sorted(words)
    store.Journal("sweep/other").keep([{"key": word} for word in words])
    assert kept("sweep/other") == words
