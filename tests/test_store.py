from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import table
from fathom import store
from fathom.spec import Refused

pytestmark = pytest.mark.usefixtures("root")


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
