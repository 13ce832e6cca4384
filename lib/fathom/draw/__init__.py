"""Pictures: one visual grammar for all figures. Tables come in; nothing is computed here.

Depth is a colour (dark = deep, the same depth the same colour everywhere), width a line
style, parametrization a panel, nonlinearity one of a few colours. Theory is black and
dashed. Bands and bars come from `law`. Sizes are final: inches on paper, points of type.
"""

from fathom.draw.fits import fits
from fathom.draw.graphs import network
from fathom.draw.hyperparameters import Swept, hyperparameters
from fathom.draw.kinks import kinks
from fathom.draw.laws import (
    RULES,
    Chart,
    Rates,
    Row,
    arms,
    exponent_map,
    hazards,
    power_laws,
    regrets,
)
from fathom.draw.lines import Look, Panel, panels, power_lines
from fathom.draw.planes import Maps, heat_maps, phase_plane, phases
from fathom.draw.style import Picture, depth_colour, in_words, picture
from fathom.draw.transfer import Paper, effective_depth, losses, transfer
