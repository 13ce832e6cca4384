"""What one training is, and how an entry of params.yaml becomes a list of trainings.

A `Run` is the whole identity of a training: nothing else but the code may influence
its numbers. The words that params.yaml may use, and every sentence about a word it
may not use, live here.
"""

from fathom.spec.grid import grid, limits, settings
from fathom.spec.run import Base, Law, Limit, Machine, Net, Optim, Part, Probe, Run
from fathom.spec.words import (
    ALPHA,
    COLUMNS,
    DERIVED,
    FAMILIES,
    GAPS,
    MEASURED,
    MEASURES,
    METRICS,
    PHIS,
    PREDICTIONS,
    RULES,
    TASKS,
    Refused,
    nearest,
)
