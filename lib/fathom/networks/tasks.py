"""Tasks: tensors of inputs and targets, seeded, offline, on real data where there is any.

Digits are scikit-learn's 1797 images of 8 x 8 pixels, centred pixel by pixel and divided
by one number (three pixels are constant). A fixed split holds 288 of them out. Fashion-MNIST
(fashion.py) has 60,000 images to train on, at 28 x 28, 14 x 14 or 7 x 7 pixels, and 2,048 held
out. Text is the English of the locked scipy: the docstrings of all its files, five million bytes.
"""

import ast
import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from fathom.networks import fashion
from fathom.spec import DRAWN, Refused

HELD_OUT = 288
FASHION_HELD_OUT = 2048
PIECE = 512  # examples held out that are seen at once, at most
PAIRS = 20_000
CONTEXT = 64  # tokens of a text that are read at once
TEXT = "443313690c5a30c7"  # the first digits of the SHA-256 of scipy 1.17.1's docstrings


class Task(NamedTuple):
    """Inputs (examples, inputs) with targets: classes (examples,) for cross-entropy, or
    values (examples, outputs) for half the squared error. In a text, both are tokens
    (examples, CONTEXT), a token's target is the next one, and `inputs` is how many there
    are. The last `held_out` examples are never trained on. `inputs` is None where the input
    is as wide as the network. Images have `side` x `side` pixels, row after row."""

    inputs: int | None
    outputs: int
    x: Tensor
    y: Tensor
    held_out: int = HELD_OUT
    side: int | None = None

    def pieces(self) -> list[slice]:
        """The examples held out, in pieces of one size, small enough to be seen at once."""
        size = next(n for n in range(min(self.held_out, PIECE), 0, -1) if self.held_out % n == 0)
        first = len(self.x) - self.held_out
        return [slice(start, start + size) for start in range(first, len(self.x), size)]

    def batches(self, seed: int, batch: int, steps: int) -> Tensor:
        """Which examples each step sees, shape (steps, batch): shuffled passes, one after
        another, the same for every run with this seed."""
        rng, size = np.random.default_rng([seed, 0]), len(self.x) - self.held_out
        passes = -(-batch * steps // size)
        order = np.concatenate([rng.permutation(size) for _ in range(passes)])
        return torch.from_numpy(order[: batch * steps].reshape(steps, batch))


@cache
def task(name: str) -> Task:
    """A task by its name in params.yaml.

    digits: clean labels. digits_noisy: 30 % of the labels redrawn. digits_random: every label
    redrawn. digits_sum: two images side by side, their sum modulo 10, no pair twice. digits_mse:
    clean labels as one-hot targets of the squared error. fashion28, fashion14, fashion7:
    Fashion-MNIST by its pixels a side, which may be followed by _noisy or _random too. text: the
    next byte of scipy's docstrings, in windows that do not overlap. gaussian: one standard normal
    input as wide as the network, target 1 or -1 (zero mean, unit variance), the setting of the
    one-step formula; it has no fixed examples. gaussian_rectified: its negative numbers are 0, as
    in every layer but the first. unit: the number 1, target 1, whichever the
    example, the setting in which limits are written down. pair: two examples of two numbers, of
    length 1 and inner product 0.3, targets 1 and -1, for training on both at once. Raises Refused
    where scipy's docstrings are not those of the locked release, or where Fashion-MNIST is nowhere
    to be had.
    """
    if name == "text":
        return _text()
    if name in DRAWN:
        return Task(None, 1, torch.empty(0), torch.empty(0), held_out=0)
    if name == "unit":
        return Task(1, 1, torch.ones(HELD_OUT + 1, 1), torch.ones(HELD_OUT + 1, 1))
    if name == "pair":
        x, y = torch.tensor([[1.0, 0.0], [0.3, 0.91**0.5]]), torch.tensor([[1.0], [-1.0]])
        return Task(2, 1, x.repeat(1 + HELD_OUT // 2, 1), y.repeat(1 + HELD_OUT // 2, 1))
    kind, _, labels = name.partition("_")
    if kind.startswith("fashion"):
        side, held_out = int(kind.removeprefix("fashion")), FASHION_HELD_OUT
        x, y = fashion.centred(side, held_out)
    else:
        side, held_out = 8, HELD_OUT
        x, y = _digits()
    rng = np.random.default_rng(2309_16620)
    if labels == "noisy":
        y = np.where(rng.random(len(y)) < 0.3, rng.integers(0, 10, len(y)), y)
    elif labels == "random":
        y = rng.integers(0, 10, len(y))
    elif labels == "sum":
        return _sums(x, y, rng)
    targets = torch.from_numpy(y)
    if labels == "mse":
        targets = torch.eye(10)[targets]
    return Task(side**2, 10, torch.from_numpy(x), targets, held_out, side)


def drawn(name: str, seed: int, batch: int, width: int) -> tuple[Tensor, Tensor]:
    """Inputs (batch, width) and targets (batch, 1) of a task that is drawn, for one seed."""
    rng = np.random.default_rng([seed, 0])
    x = torch.from_numpy(rng.standard_normal((batch, width), dtype=np.float32))
    x = x.clamp(min=0) if name == "gaussian_rectified" else x
    return x, torch.from_numpy(rng.choice([-1.0, 1.0], (batch, 1)).astype(np.float32))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    found: Any = load_digits(return_X_y=True)
    pixels, classes = found
    order = np.random.default_rng(2310_02244).permutation(len(classes))
    x = pixels - pixels.mean(axis=0)
    return (x / x.std()).astype(np.float32)[order], classes.astype(np.int64)[order]


def _text() -> Task:
    spoken = docstrings().encode()
    if not hashlib.sha256(spoken).hexdigest().startswith(TEXT):
        raise Refused(
            f"task text: the docstrings of scipy {version('scipy')} here are not those of the "
            "release in requirements.lock; install that with pip install -r requirements.lock"
        )
    known, tokens = np.unique(np.frombuffer(spoken, np.uint8), return_inverse=True)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, CONTEXT + 1)[::CONTEXT]
    order = np.random.default_rng(2310_02244).permutation(len(windows))
    shuffled = torch.from_numpy(windows[order].astype(np.int64))
    return Task(len(known), len(known), shuffled[:, :-1], shuffled[:, 1:])


def docstrings() -> str:
    """Every docstring of the installed scipy, file by file in the order of their names."""
    found = find_spec("scipy")
    top = Path(found.origin).parent if found and found.origin else Path()
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    spoken = []
    for path in sorted(top.rglob("*.py"), key=lambda path: path.relative_to(top).as_posix()):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        spoken += [ast.get_docstring(node) for node in nodes if isinstance(node, kinds)]
    return "\n\n".join(filter(None, spoken))


def _sums(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Task:
    """Pairs of training images, then HELD_OUT pairs of held-out images."""
    size = len(y) - HELD_OUT
    train = rng.choice(size * size, PAIRS, replace=False)
    test = rng.choice(HELD_OUT * HELD_OUT, HELD_OUT, replace=False)
    left = np.concatenate([train // size, size + test // HELD_OUT])
    right = np.concatenate([train % size, size + test % HELD_OUT])
    both = np.concatenate([x[left], x[right]], axis=1)
    return Task(128, 10, torch.from_numpy(both), torch.from_numpy((y[left] + y[right]) % 10))
