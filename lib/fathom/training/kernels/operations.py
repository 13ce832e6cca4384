"""What compiled kernels have in common: the matrix product, layer norm, an update.

No compiled function has leave to regroup or fuse operations: numbers would depend on when and
where it was compiled. Sums over a row are therefore matrix products, where they are many.
"""

import atexit
import hashlib
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.core import config

from fathom.training.kernels.blas import PLAIN, ROW_MAJOR, TURNED, sgemm

ONE, ZERO = np.float32(1), np.float32(0)
BETA_1, BETA_2 = 0.9, 0.999
NORM_EPSILON = np.float32(1e-5)  # as in torch
LOST = np.float32(np.nan)
CONFIG: Any = config  # numba writes its settings into it as it is loaded
HERE = Path(__file__).parent
COMPILED_FROM = (*sorted(HERE.glob("*.py")), HERE.parents[1] / "spec/net.py")


def _cache() -> Path:
    """Where compiled functions are kept: the first of numba's own setting, FATHOM_BUILD, this
    folder and the user's cache that can be written, else a folder that goes with the process. Of
    what a function calls and is handed, numba notices no change, so all files that decide it have a
    part in the folder's name."""
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in COMPILED_FROM))
    build, home = os.environ.get("FATHOM_BUILD"), os.path.expanduser("~")
    own = os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    asked = os.environ.get("NUMBA_CACHE_DIR"), build and f"{build}/kernels"
    for folder in map(Path, (*filter(None, asked), HERE / "__pycache__", f"{own}/fathom")):
        there = next(one for one in (folder, *folder.parents) if os.path.exists(one))
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK) and folder.parts[0] != "~":
            return folder.absolute() / sources.hexdigest()[:16]
    passing = tempfile.mkdtemp(prefix="fathom-")
    atexit.register(shutil.rmtree, passing, ignore_errors=True)
    return Path(passing)


CONFIG.CACHE_DIR = str(_cache())


@njit(cache=True, error_model="numpy")
def product(
    alpha: np.float32, a: np.ndarray, a_turned: bool, b: np.ndarray, b_turned: bool,
    beta: np.float32, out: np.ndarray,
) -> None:  # fmt: skip
    """out = alpha a b + beta out, with a or b transposed where said; float32, rows first, each
    row in one piece (columns of a wider matrix will do)."""
    inner = a.shape[0] if a_turned else a.shape[1]
    sgemm(
        ROW_MAJOR, TURNED if a_turned else PLAIN, TURNED if b_turned else PLAIN,
        out.shape[0], out.shape[1], inner, alpha, a.ctypes, a.strides[0] // 4,
        b.ctypes, b.strides[0] // 4, beta, out.ctypes, out.strides[0] // 4,
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def normalise(
    x: np.ndarray, even: np.ndarray, means: np.ndarray, spare: np.ndarray,
    out: np.ndarray, scale: np.ndarray,
) -> None:  # fmt: skip
    """out = (x - mean) scale, row by row, with scale = 1 / standard deviation; `even` is a column
    of 1 / width, `means` and `spare` are buffers."""
    product(ONE, x, False, even, False, ZERO, means)
    for i in range(x.shape[0]):
        mean = means[i, 0]
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - mean
            spare[i, j] = out[i, j] * out[i, j]
    product(ONE, spare, False, even, False, ZERO, means)
    for i in range(x.shape[0]):
        factor = ONE / np.sqrt(means[i, 0] + NORM_EPSILON)
        if factor == ZERO:  # squares too large for a number: not 0, diverged
            factor = LOST
        scale[i] = factor
        for j in range(x.shape[1]):
            out[i, j] *= factor


@njit(cache=True, error_model="numpy")
def unnormalise(
    normed: np.ndarray, scale: np.ndarray, g: np.ndarray,
    even: np.ndarray, means: np.ndarray, spare: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """out += the gradient on x, from the gradient g on what `normalise` made of it."""
    product(ONE, g, False, even, False, ZERO, means)
    for i in range(g.shape[0]):
        mean, factor = means[i, 0], scale[i]
        for j in range(g.shape[1]):
            spare[i, j] = g[i, j] * normed[i, j]
            out[i, j] += factor * (g[i, j] - mean)
    product(ONE, spare, False, even, False, ZERO, means)
    for i in range(g.shape[0]):
        along = scale[i] * means[i, 0]
        for j in range(g.shape[1]):
            out[i, j] -= along * normed[i, j]


@njit(cache=True, error_model="numpy")
def update(
    weight: np.ndarray, gradient: np.ndarray, first: np.ndarray, second: np.ndarray,
    adam: bool, step: int, rate: np.float32, eps: np.float32,
) -> None:  # fmt: skip
    """One SGD or Adam update of one layer, in place; `step` counts from 0."""
    w, g, m, v = weight.ravel(), gradient.ravel(), first.ravel(), second.ravel()
    if not adam:
        for i in range(w.size):
            w[i] -= rate * g[i]
        return
    unbias = np.float32(math.sqrt(1 - BETA_2 ** (step + 1)))
    move, eps = np.float32(rate * unbias / (1 - BETA_1 ** (step + 1))), eps * unbias
    for i in range(w.size):
        m[i] += np.float32(1 - BETA_1) * (g[i] - m[i])
        v[i] += np.float32(1 - BETA_2) * (g[i] * g[i] - v[i])
        w[i] -= move * m[i] / (np.sqrt(v[i]) + eps)
