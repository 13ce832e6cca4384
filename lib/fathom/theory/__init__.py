"""Infinite networks: theory in float64, without a network.

`linear` is the exact infinite-width limit of a linear residual network under SGD at any
depth and depth scaling; `nonlinear` is the limit of infinite width, then depth, with a
smooth nonlinearity. Both return a `Trajectory`; functions read observables off it.
"""

from fathom.theory.linear import (
    LOSSES,
    QUARTERS,
    SIZES,
    Trajectory,
    distances,
    layer_sizes,
    linear,
    output_kernel,
    stream_rms,
    tidy,
)
from fathom.theory.nonlinear import EQUATIONS, SMOOTH, Smooth, nonlinear
from fathom.theory.table import table
