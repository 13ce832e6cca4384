"""Fashion-MNIST: where it is looked for, what is refused, and that nothing is read twice."""

import errno
import gzip
import hashlib
import multiprocessing
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeRuns
from fathom.networks import fashion, tasks
from fathom.networks.fashion import FILES, centred, images, pooled, source
from fathom.networks.tasks import task
from fathom.spec import Refused
from fathom.sweeps import plan
from fathom.training.train import train

REAL = fashion.source() is not None
needs_it = pytest.mark.skipif(not REAL, reason="Fashion-MNIST is not here; make data brings it")


def idx(body: np.ndarray) -> bytes:
    """A file of the format: two zeros, 8 for bytes, the number of sizes, the sizes, the bytes."""
    sizes = struct.pack(f">{body.ndim}I", *body.shape)
    return bytes([0, 0, 8, body.ndim]) + sizes + body.tobytes()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four files of the format, 40 images to train on and 20 to test, and the
    constants that belong to them; what is kept goes below tmp_path."""
    rng, folder = np.random.default_rng(0), tmp_path / "files"
    folder.mkdir()
    parts = [rng.integers(0, 256, (40, 28, 28)), rng.integers(0, 10, 40)]
    parts += [rng.integers(0, 256, (20, 28, 28)), rng.integers(0, 10, 20)]
    parts, digests = [part.astype(np.uint8) for part in parts], {}
    for name, part in zip(FILES, parts, strict=True):
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(part)))
        digests[name] = hashlib.sha256(idx(part)).hexdigest()
    rows = [np.column_stack([parts[i].reshape(-1, 784), parts[i + 1]]) for i in (0, 2)]
    monkeypatch.setattr(fashion, "FILES", digests)
    monkeypatch.setattr(
        fashion, "ARRAY", hashlib.sha256(np.concatenate(rows).tobytes()).hexdigest()
    )
    for name, value in {"TRAIN": 40, "TEST": 20, "PIECE": 10}.items():
        monkeypatch.setattr(fashion, name, value)
    monkeypatch.setattr(fashion, "BUILD", tmp_path / "build")
    monkeypatch.setattr(fashion, "ROOT", tmp_path / "repository")
    monkeypatch.setattr(fashion, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(fashion, "find_spec", lambda _: None)
    monkeypatch.setenv("FATHOM_DATA", str(folder))
    return folder


def refusal() -> str:
    with pytest.raises(Refused) as raised:
        images()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_it_is_looked_for_in_a_fixed_order(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, package = fashion.ROOT / "data", fashion.PACKAGE
    for folder in (repository, package):
        folder.mkdir(parents=True)
    assert source() == small
    monkeypatch.delenv("FATHOM_DATA")
    assert source() is None
    (package / next(iter(FILES))).write_bytes(b"")
    assert source() == package
    (repository / f"{next(iter(FILES))}.gz").write_bytes(b"")
    assert source() == repository


def test_nowhere_is_one_sentence_with_the_remedy(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FATHOM_DATA")
    assert "make data brings it" in refusal()


def test_a_folder_without_one_of_the_files_names_it(small: Path) -> None:
    (small / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte.gz: missing" in refusal()


def test_a_file_cut_short_is_refused(small: Path) -> None:
    path = small / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path}: cannot be read" in refusal()


def test_a_file_with_other_bytes_is_refused(small: Path) -> None:
    path = small / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1] + b"\x00\x01"))
    assert f"{path}: not the file that was published" in refusal()


def test_a_folder_that_cannot_be_read_is_refused(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read (Permission denied)" in refusal()


def test_a_disk_that_fills_while_keeping_is_one_sentence_and_leaves_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert "the disk is full" in refusal()
    assert not list((fashion.BUILD / "data").iterdir())


def test_where_nothing_can_be_kept_the_images_are_read_each_time(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    expected = np.array(images())
    monkeypatch.setattr(fashion, "_mapped", lambda _: None)
    monkeypatch.setattr(np, "save", read_only)
    assert np.array_equal(images(), expected)


def test_what_is_kept_is_mapped_and_what_was_altered_is_made_again(small: Path) -> None:
    assert isinstance(images(), np.memmap)
    first = np.array(images())
    (path,) = (fashion.BUILD / "data").iterdir()
    for spoil in (lambda body: body[:-50], lambda body: body[:-1] + b"\x0b"):
        path.write_bytes(spoil(path.read_bytes()))
        assert np.array_equal(images(), first)
    for name in FILES:
        (small / f"{name}.gz").unlink()
    assert np.array_equal(images(), first), "once kept, the files are not needed"


def _digest(_: int) -> str:
    return hashlib.sha256(images().tobytes()).hexdigest()


def test_two_processes_may_keep_it_at_once(small: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert set(pool.map(_digest, range(4))) == {fashion.ARRAY}
    assert len(list((fashion.BUILD / "data").iterdir())) == 1


def test_pooling_is_the_exact_mean_over_squares() -> None:
    rows = np.random.default_rng(1).integers(0, 256, (5, 784)).astype(np.uint8)
    for side in (28, 14, 7):
        each = 28 // side
        squares = rows.reshape(5, side, each, side, each).astype(np.float64)
        assert np.array_equal(pooled(side, rows) / each**2, squares.mean((2, 4)).reshape(5, -1))


def test_pixels_are_centred_one_by_one_and_divided_by_one_number(small: Path) -> None:
    x, y = centred(14, 8)
    plain = pooled(14, np.array(images())[:40, :-1]).astype(np.float64)
    assert x.shape == (48, 196) and x.dtype == np.float32 and y.shape == (48,)
    np.testing.assert_allclose(x[:40].mean(0), 0, atol=1e-6)
    away = plain - plain.mean(0)
    np.testing.assert_allclose(away / away.std(), x[:40], atol=1e-5)
    assert (x[:40].astype(np.float64) ** 2).mean() == pytest.approx(1, rel=1e-6)


@needs_it
@pytest.mark.parametrize("side", [28, 14, 7])
def test_the_published_images_make_a_task(side: int) -> None:
    plain, random = task(f"fashion{side}"), task(f"fashion{side}_random")
    assert plain.x.shape == (62_048, side**2) and plain.held_out == 2_048 and plain.side == side
    assert np.bincount(plain.y[:60_000]).tolist() == [6_000] * 10
    same = {kind: float((task(f"fashion{side}{kind}").y == plain.y).float().mean())
            for kind in ("_noisy", "_random")}  # fmt: skip
    assert same["_noisy"] == pytest.approx(0.7 + 0.03, abs=0.01)
    assert same["_random"] == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(random.x, plain.x)


@needs_it
@pytest.mark.parametrize("phi", ["relu", "tanh"])
def test_a_network_trains_on_it_and_what_is_held_out_is_seen_in_pieces(
    make_runs: MakeRuns, phi: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(task="fashion7", phi=phi, steps=100, kind="adam", log2_lr=-6, batch=32)
    found = train(runs)
    assert found.loss[0, -10:].mean() < 0.8 * found.loss[0, :5].mean()
    monkeypatch.setattr(tasks, "PIECE", 4096)
    whole = train(runs)
    assert np.array_equal(whole.loss, found.loss)
    np.testing.assert_allclose(whole.held_out, found.held_out, rtol=1e-5)


@needs_it
def test_a_plan_counts_the_images_once_for_each_worker(make_runs: MakeRuns) -> None:
    few, many = (make_runs(task=name)[0] for name in ("digits", "fashion28"))
    gib = task("fashion28").x.nbytes / 2**30
    assert plan._process(many) - plan._process(few) == pytest.approx(gib, rel=0.02)
    assert task("fashion28").x is task("fashion28").x


def test_digits_are_held_out_in_one_piece() -> None:
    (piece,) = task("digits").pieces()
    assert (piece.start, piece.stop) == (1_509, 1_797)
