"""Fashion-MNIST: 70,000 images of 28 x 28 pixels in ten classes (MIT licence).

Its four files are looked for in FATHOM_DATA, in data/ of the repository, and where Debian's
package dataset-fashion-mnist lies; then the Hugging Face hub is asked. What was read once is kept
below build/ as one array of bytes, which every process maps into its memory.
"""

import errno
import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fathom.paths import BUILD, ROOT
from fathom.spec import Refused

SIDE, TRAIN, TEST = 28, 60_000, 10_000
PIECE = 2_000  # images that are worked on at once
HUB = "zalando-datasets/fashion_mnist"
DEBIAN = "dataset-fashion-mnist"
PACKAGE = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package lies
BRING = "make data brings it"
# each file, unpacked: its SHA-256
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
ARRAY = (  # SHA-256 of the array below
    "25001a14c2eb79cea0d12b97921bb17f9b142dbccd1b89d382b446f52061aa8b"
)


def images() -> np.ndarray:
    """All images and labels, uint8 of shape (70000, 785): training then test, a row for each image,
    its label last. Mapped into memory, not read. Raises Refused where it is nowhere to be had."""
    kept = BUILD / "data" / f"fashion-mnist-{ARRAY[:16]}.npy"
    found = _mapped(kept)
    if found is not None:
        return found
    made = _read()
    try:
        _keep(made, kept)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Refused(f"{kept}: the disk is full; free some space (55 MB)") from None
        return made  # a folder that cannot be written: read anew each time
    found = _mapped(kept)
    return made if found is None else found


def _mapped(path: Path) -> np.ndarray | None:
    """The array that is kept, or None where it is not there or not what was written."""
    try:
        found = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError):
        return None
    return found if hashlib.sha256(found.tobytes()).hexdigest() == ARRAY else None


def _keep(made: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.save(file, made)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _read() -> np.ndarray:
    folder = source()
    made = _from_hub() if folder is None else _from_files(folder)
    if hashlib.sha256(made.tobytes()).hexdigest() != ARRAY:
        raise Refused(f"Fashion-MNIST: its images in {folder or HUB} are not those published")
    return made


def source() -> Path | None:
    """The folder that holds the four files, or None where only the hub may have them."""
    asked = os.environ.get("FATHOM_DATA")
    if asked:
        return Path(asked)
    for folder in (ROOT / "data", PACKAGE):
        if any(_path(folder, name) for name in FILES):
            return folder
    return None


def _path(folder: Path, name: str) -> Path | None:
    there = [folder / name, folder / f"{name}.gz"]
    return next((path for path in there if path.exists()), None)


def _from_files(folder: Path) -> np.ndarray:
    parts = [_bytes(folder, name) for name in FILES]
    rows = []
    for pixels, labels in ((parts[0], parts[1]), (parts[2], parts[3])):
        flat = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, SIDE * SIDE)
        rows.append(np.column_stack([flat, np.frombuffer(labels, np.uint8, offset=8)]))
    return np.concatenate(rows)


def _bytes(folder: Path, name: str) -> bytes:
    """A file unpacked; raises Refused where it is not there, not readable or not as published."""
    path = _path(folder, name)
    if path is None:
        raise Refused(f"{folder / name}.gz: missing; {BRING} (Fashion-MNIST has four files)")
    try:
        packed = path.read_bytes()
        body = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "cut short"
        raise Refused(f"{path}: cannot be read ({reason}); delete it, then {BRING}") from None
    if hashlib.sha256(body).hexdigest() != FILES[name]:
        raise Refused(
            f"{path}: not the file that was published (its SHA-256 is another); delete it, "
            f"then {BRING}"
        )
    return body


def _from_hub() -> np.ndarray:
    if find_spec("datasets") is None:
        raise Refused(
            "Fashion-MNIST: found neither in FATHOM_DATA nor in data/ nor as Debian's package "
            f"dataset-fashion-mnist; {BRING}"
        )
    import datasets  # pyright: ignore[reportMissingImports]

    try:
        both: Any = [datasets.load_dataset(HUB, split=split) for split in ("train", "test")]
    except Exception as error:  # of many kinds, all of which mean the same here
        what = str(error).splitlines()[0][:80]
        raise Refused(
            f"Fashion-MNIST: the download from the Hugging Face hub failed ({what}); {BRING}"
        ) from None
    rows = []
    for part in both:
        pixels = np.stack([np.asarray(one, np.uint8).ravel() for one in part["image"]])
        rows.append(np.column_stack([pixels, np.asarray(part["label"], np.uint8)]))
    return np.concatenate(rows)


def pooled(side: int, rows: np.ndarray) -> np.ndarray:
    """Images (examples, 784) of bytes as sums over squares of pixels, uint16 of shape
    (examples, side squared); a mean over a square is its sum over (28 / side) squared."""
    each = SIDE // side
    squares = rows.reshape(len(rows), SIDE, SIDE)
    sums = np.zeros((len(rows), side, side), np.uint16)
    for down in range(each):
        for right in range(each):
            sums += squares[:, down::each, right::each]
    return sums.reshape(len(rows), -1)


def centred(side: int, held_out: int) -> tuple[np.ndarray, np.ndarray]:
    """All training images and some of the test images, drawn once for all, with their classes.

    float32 of shape (60000 + held_out, side squared), mean-pooled exactly, the mean over the
    training images taken off each pixel, all divided by the one number that gives the training
    images a mean square of 1; classes int64."""
    found = images()
    chosen = TRAIN + np.sort(np.random.default_rng(2310_02244).choice(TEST, held_out, False))
    parts = [np.arange(first, first + PIECE) for first in range(0, TRAIN, PIECE)] + [chosen]
    x = np.empty((TRAIN + held_out, side * side), np.float32)
    for i, rows in enumerate(parts):  # a sum is below 2^16: exact in float32
        x[i * PIECE : i * PIECE + len(rows)] = pooled(side, found[rows, :-1])
    total, squares = np.zeros(side * side), 0.0
    for first in range(0, TRAIN, PIECE):  # whole numbers below 2^53: the same on every machine
        piece = x[first : first + PIECE].astype(np.float64)
        total += piece.sum(0)
        squares += float(np.vdot(piece, piece))
    mean = total / TRAIN
    spread = int(squares) * TRAIN - sum(int(one) ** 2 for one in total)
    variance = spread / (TRAIN * side) ** 2
    x -= mean.astype(np.float32)
    x /= np.float32(np.sqrt(variance))
    return x, found[np.concatenate([np.arange(TRAIN), chosen]), -1].astype(np.int64)


def bring() -> str:
    """Bring the four files into data/ where they are not yet to be had, without root: from the hub
    where HF datasets is installed, else from Debian's package. Returns what was done, as a
    sentence; raises Refused where neither can be reached."""
    folder = source()
    if folder is not None:
        images()
        return f"Fashion-MNIST is there already, in {folder}."
    if find_spec("datasets") is not None:
        images()
        return f"Fashion-MNIST came from the hub ({HUB}) and is kept in {BUILD / 'data'}."
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Refused(
            "Fashion-MNIST: no apt-get here; install the extra (pip install -e .[hub]) and try "
            f"again, or put its four files ({', '.join(FILES)}, .gz or not) into data/"
        )
    with tempfile.TemporaryDirectory() as there:
        for words in (["apt-get", "download", DEBIAN], ["sh", "-c", f"dpkg -x {DEBIAN}*.deb ."]):
            done = subprocess.run(words, cwd=there, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise Refused(f"Fashion-MNIST: {' '.join(words)} failed: {said[:120]}")
        (ROOT / "data").mkdir(exist_ok=True)
        for path in Path(there).rglob("*-ubyte.gz"):
            shutil.copyfile(path, ROOT / "data" / path.name)
    images()
    return f"Fashion-MNIST came from Debian's package {DEBIAN} and lies in {ROOT / 'data'}."
