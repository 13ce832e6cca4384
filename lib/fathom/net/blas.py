"""One matrix product for compiled loops: OpenBLAS's sgemm, always on one thread.

The library is one of our own, beside numpy's and scipy's: neither their threads nor a choice
of kernels made for them (OPENBLAS_CORETYPE) can move a bit of ours, only the processor can.
"""

import ctypes
import os

import llvmlite.binding as llvm
import numpy as np
from numba import njit, types

ROW_MAJOR, PLAIN, TURNED = 101, 111, 112


def _open() -> ctypes.CDLL:
    asked = os.environ.pop("OPENBLAS_CORETYPE", None)
    try:
        from scipy_openblas32 import dll  # opened here, on the kernels this processor is known for
    finally:
        if asked is not None:
            os.environ["OPENBLAS_CORETYPE"] = asked
    dll.scipy_openblas_set_num_threads(1)
    return dll


_LIBRARY = _open()
llvm.add_symbol("fathom_sgemm", ctypes.cast(_LIBRARY.scipy_cblas_sgemm, ctypes.c_void_p).value or 0)
_INT, _FLOAT, _POINTER = types.int32, types.float32, types.CPointer(types.float32)
_sgemm = types.ExternalFunction(
    "fathom_sgemm",
    types.void(
        *(_INT, _INT, _INT, _INT, _INT, _INT, _FLOAT),
        *(_POINTER, _INT, _POINTER, _INT, _FLOAT, _POINTER, _INT),
    ),
)


def one_thread() -> None:
    """Set the library to one thread, whatever has been said to it since it was opened."""
    _LIBRARY.scipy_openblas_set_num_threads(1)


def kernels() -> str:
    """The name of the kernels OpenBLAS uses here, such as SkylakeX or Haswell."""
    name = _LIBRARY.scipy_openblas_get_corename
    name.restype = ctypes.c_char_p
    return name().decode()


@njit(cache=True)
def product(
    alpha: np.float32, a: np.ndarray, a_turned: bool, b: np.ndarray, b_turned: bool,
    beta: np.float32, out: np.ndarray,
) -> None:  # fmt: skip
    """out = alpha a b + beta out, with a or b transposed where said; float32, rows first."""
    inner = a.shape[0] if a_turned else a.shape[1]
    _sgemm(
        ROW_MAJOR, TURNED if a_turned else PLAIN, TURNED if b_turned else PLAIN,
        out.shape[0], out.shape[1], inner,
        alpha, a.ctypes, a.shape[1], b.ctypes, b.shape[1], beta, out.ctypes, out.shape[1],
    )  # fmt: skip
