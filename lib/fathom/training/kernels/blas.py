"""One matrix product for compiled kernels: OpenBLAS's sgemm, always on one thread.

The library is one of our own, beside numpy's and scipy's: neither their threads nor a choice
of kernels made for them (OPENBLAS_CORETYPE) can move a bit of ours, only the processor can.
"""

import ctypes
import os

import llvmlite.binding as llvm
from numba import types

ROW_MAJOR, PLAIN, TURNED = 101, 111, 112  # cblas's words for how a matrix lies


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
sgemm = types.ExternalFunction(
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
