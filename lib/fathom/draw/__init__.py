"""Pictures: one visual grammar for all figures. Tables come in; nothing is computed here.

Depth is a colour (dark = deep, the same depth the same colour everywhere), width a line
style, parametrization a panel, nonlinearity one of a few colours. Theory is black and
dashed. Bands and bars come from `law`. Sizes are final: inches on paper, points of type.
"""

from fathom.draw.figures import Paper, effective_depth, losses, transfer
from fathom.draw.panels import (
    depth_losses,
    exponents,
    power_law,
    rate_curves,
    strip,
    theory,
)
from fathom.draw.style import Picture, depth_colour, in_words, picture

__all__ = [
    "Paper",
    "Picture",
    "depth_colour",
    "depth_losses",
    "effective_depth",
    "exponents",
    "in_words",
    "losses",
    "picture",
    "power_law",
    "rate_curves",
    "strip",
    "theory",
    "transfer",
]
