"""What one training is, and how an entry of params.yaml becomes a list of trainings.

A `Run` is the whole identity of a training: nothing else but the code may influence
its numbers. The words that params.yaml may use, and every sentence about a word it
may not use, live here.
"""

from fathom.spec.grid import count, grid, limits, settings
from fathom.spec.machine import Machine
from fathom.spec.run import Base, Law, Limit, Net, Optim, Part, Probe, Run
from fathom.spec.words import (
    COLUMNS,
    DERIVED,
    EXAMPLES,
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
    numbers,
)
