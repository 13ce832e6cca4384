"""Gaussian sources of many sites, whose covariance becomes known row by row."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SINGULAR = 1e-12  # conditional variance below which a source follows from the earlier ones


def frame(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Standard normals (rows, columns) whose columns have mean 0 and covariance 1 in the sample
    too, in groups of at most half as many columns as rows: what is linear or quadratic in them
    then averages without noise. A row is uniform on a sphere, so the bias is O(1 / rows). More
    columns leave the first ones as they are."""
    found, most = np.empty((rows, columns)), rows // 2
    for start in range(0, columns, most):
        wide = min(most, columns - start)
        drawn = np.column_stack([np.ones(rows), rng.standard_normal((wide, rows)).T])
        basis, upper = np.linalg.qr(drawn)
        signs = np.sign(np.diagonal(upper))[1:]
        found[:, start : start + wide] = basis[:, 1:] * signs * np.sqrt(rows)
    return found


def append(factor: Array, kernel: Array, new: slice) -> None:
    """Write the rows `new` of the Cholesky factor (kets, kets) of a covariance (kets, kets), whose
    earlier rows are there; where a ket follows from earlier ones its own entry is 0."""
    for one in range(new.start, new.stop):
        left = kernel[one, : one + 1].copy()
        for earlier in range(one):
            own = factor[earlier, earlier]
            rest = left[earlier] - factor[one, :earlier] @ factor[earlier, :earlier]
            factor[one, earlier] = rest / own if own > 0 else 0.0
        rest = left[one] - factor[one, :one] @ factor[one, :one]
        factor[one, one] = np.sqrt(rest) if rest > SINGULAR * left[one] else 0.0
