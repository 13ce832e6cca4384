import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fathom import store
from fathom.spec import Refused


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(store, "_HELD", {})
    yield tmp_path
    for lock in store._HELD.values():
        lock.close()


def table() -> pd.DataFrame:
    """What a sweep may hold: words, the word none, booleans, counts, rates, losses and inf."""
    return pd.DataFrame(
        {
            "task": ["digits", "digits", "digits_sum"],
            "norm": ["none", "layer", "none"],
            "center": [True, False, True],
            "depth": [4, 8, 16],
            "log2_lr": [-4.5, -4.0, -3.5],
            "loss_mean": [0.12345678912, 1 / 3, math.inf],
            "key": ["0a1b2c3d4e5f", "1234567890ab", "fedcba098765"],
        }
    )


def test_text_does_not_depend_on_the_order_of_rows() -> None:
    said = store.text(table())
    for seed in range(3):
        assert store.text(table().sample(frac=1, random_state=seed)) == said


def test_text_depends_on_every_number() -> None:
    changed = table()
    changed["loss_mean"] += 1e-6
    assert store.text(changed) != store.text(table())


def test_text_carries_versions_and_no_place(root: Path) -> None:
    first = store.text(table()).splitlines()[0]
    assert first.startswith("# fathom ")
    assert "torch 2." in first
    assert "+" not in first
    assert str(root) not in store.text(table())


def test_what_was_written_is_read_back() -> None:
    store.write(table(), "sweep/some")
    found = store.read("sweep/some")[list(table().columns)]
    expected = table().sort_values(list(table().columns), ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)


@pytest.mark.parametrize("key", ["000123456789", "123456789012", "12345e678901"])
def test_a_key_that_looks_like_a_number_is_read_back_as_it_was(key: str) -> None:
    store.write(table().head(1).assign(key=key), "sweep/some")
    assert store.read("sweep/some")["key"].tolist() == [key]


def test_writing_what_was_read_gives_the_same_bytes() -> None:
    store.write(table(), "sweep/some")
    before = store.place("sweep/some").read_bytes()
    store.write(store.read("sweep/some"), "sweep/some")
    assert store.place("sweep/some").read_bytes() == before


def test_rows_that_differ_beyond_the_seventh_digit_alone_are_written_stably() -> None:
    close = pd.DataFrame({"loss": [1 / 3, 1 / 3 + 1e-12], "seed": [2, 1]})
    store.write(close, "law/close")
    before = store.place("law/close").read_bytes()
    store.write(store.read("law/close"), "law/close")
    assert store.place("law/close").read_bytes() == before


def test_nothing_but_the_table_is_left_behind(root: Path) -> None:
    store.write(table(), "sweep/some")
    store.write(table().head(1), "sweep/some")
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["some.csv"]


@pytest.mark.parametrize(
    ("old", "new"), [("0.3333333", "0.3333334"), ("False", "True"), ("fedcba098765", "fedcba")]
)
def test_a_table_changed_by_hand_is_refused(old: str, new: str) -> None:
    store.write(table(), "sweep/some")
    path = store.place("sweep/some")
    path.write_text(path.read_text().replace(old, new))
    for use in (store.read, store.known):
        with pytest.raises(Refused) as caught:
            use("sweep/some")
        assert str(caught.value).startswith("artifacts/sweep/some.csv: ")
        assert "git checkout -- artifacts/sweep/some.csv" in str(caught.value)


def test_a_table_cut_short_or_empty_or_garbled_is_refused() -> None:
    store.write(table(), "sweep/some")
    path = store.place("sweep/some")
    whole = path.read_bytes()
    for said in (whole[:-20], whole.splitlines()[0], b"", b"a,b\n1,2\n", b"\xff\x00" + whole):
        path.write_bytes(said)
        with pytest.raises(Refused, match=r"git checkout -- artifacts/sweep/some\.csv"):
            store.digest("sweep/some")


def test_a_missing_table_is_refused_with_the_nearest_name() -> None:
    store.write(table(), "sweep/tp6_resmlp")
    with pytest.raises(Refused) as caught:
        store.read("sweep/tp6_resnet")
    message = str(caught.value)
    assert message.startswith("artifacts/sweep/tp6_resnet.csv: missing")
    assert message.endswith("did you mean sweep/tp6_resmlp?")


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


@pytest.mark.parametrize("said", ["[1, 2]", "3", '"key"', "null"])
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


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("sweep:\n  one: [1, 2\n  two: 3\n", 3),
        ("sweep:\n  one: 1\n  two: 2\n  one: 3\n", 4),
        ("sweep:\n\tone: 1\n", 2),
    ],
)
def test_yaml_that_is_wrong_is_refused_with_its_line(root: Path, said: str, line: int) -> None:
    (root / "params.yaml").write_text(said)
    with pytest.raises(Refused) as caught:
        store.params()
    assert str(caught.value).startswith(f"params.yaml line {line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", ["", "3", "- a\n- b\n"])
def test_yaml_that_is_no_mapping_is_refused(root: Path, said: str) -> None:
    (root / "params.yaml").write_text(said)
    with pytest.raises(Refused, match="give a mapping"):
        store.params()


def test_a_missing_yaml_file_is_refused() -> None:
    with pytest.raises(Refused, match=r"claims\.yaml: missing"):
        store.params("claims.yaml")


def test_yaml_is_read_as_plain_data(root: Path) -> None:
    (root / "params.yaml").write_text("sweep: {a: {seed: [1, 2], center: true, norm: none}}\n")
    said = store.params()
    assert said == {"sweep": {"a": {"seed": [1, 2], "center": True, "norm": "none"}}}
    assert type(said["sweep"]["a"]) is dict


def test_tables_are_promoted_together_or_not_at_all() -> None:
    store.write(pd.DataFrame({"key": ["old"]}), "sweep/a")
    store.write(pd.DataFrame({"key": ["new"]}), "sweep/a", "build/retrained")
    with pytest.raises(Refused, match="missing"):
        store.promote(["sweep/a", "sweep/b"], "build/retrained")
    assert store.read("sweep/a")["key"].tolist() == ["old"]
    store.promote(["sweep/a"], "build/retrained")
    assert store.read("sweep/a")["key"].tolist() == ["new"]


def test_a_checkpoint_is_loaded_bit_for_bit_and_is_of_one_run() -> None:
    journal, steps = store.Journal("sweep/some"), np.arange(6, dtype=np.float32)
    arrays = {"curve": np.array([[0.1, np.inf, np.nan]]), "state_0000": steps}
    journal.checkpoint("a", "mlp 2").save({"curve": np.zeros(1)})
    journal.checkpoint("a", "mlp 2").save(arrays)
    found = journal.checkpoint("a", "mlp 2").load()
    assert found is not None
    said = {name: (array.dtype, array.tobytes()) for name, array in found.items()}
    assert said == {name: (array.dtype, array.tobytes()) for name, array in arrays.items()}
    assert journal.checkpoint("a", "mlp 3").load() is None
    assert journal.checkpoint("b", "mlp 2").load() is None


def test_words_that_look_like_code_are_read_as_words() -> None:
    words = ["=cmd|' /C calc'!A0", "__import__('os').abort()", "!!python/name:os.abort"]
    store.write(pd.DataFrame({"task": words}), "sweep/some")
    assert sorted(store.read("sweep/some")["task"]) == sorted(words)
    store.Journal("sweep/other").keep([{"key": word} for word in words])
    assert kept("sweep/other") == words
