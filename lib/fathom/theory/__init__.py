"""Infinite networks: theory in float64, without a network.

Training, step by step, returned as a `Solution` with its error bar:
- `linear_dmft` solves a linear residual network exactly, `dmft` one with a smooth nonlinearity by
  Monte Carlo over neurons; `depth_limit` extrapolates either to infinite depth.
- `flow` and `kernel` hold NNGP and tangent kernels along depth, at finite depth and as ordinary
  differential equations, and training in the kernel of the start; `one_datum` one step in closed
  form.

Tensor Programs VI, with stem and read-out frozen and examples one by one: `linear` is exact at
any depth and depth scaling, `nonlinear` the limit of infinite width, then depth, with a smooth
nonlinearity. Both return a `Trajectory`, off which functions read what is observed.
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
