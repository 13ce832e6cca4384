"""Effective depth of any network: its graph, what counts on it, and the rate for another depth.

`trace(module, x)` makes a graph of a torch module and counts it; `effective_depth` and
`path_counts` count a graph that you draw (networkx, nodes of KINDS); `fold` makes it short enough
to draw; `rate` carries a learning rate from one depth to another by one of RULES.
"""

from fathom.depth.effective import (
    CONVENTIONS,
    Convention,
    EffectiveDepth,
    Paths,
    effective_depth,
    path_counts,
)
from fathom.depth.examples import NAMES, model, traced
from fathom.depth.fold import Part, Stretch, fold
from fathom.depth.graph import KINDS
from fathom.depth.rules import RULES, Rate, rate
from fathom.depth.table import trace_table
from fathom.depth.trace import Trace, trace
