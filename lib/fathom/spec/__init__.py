"""What one training is, and how an entry of params.yaml becomes a list of trainings.

A `Run` is the whole identity of a training: nothing else but the code may influence
its numbers. The words that params.yaml may use, and every sentence about a word it
may not use, live here.
"""

from fathom.spec.grid import cases, count, grid, limits, settings
from fathom.spec.limits import SAMPLES, Kernels, OneStep, Solvable, Training, sampled
from fathom.spec.machine import Machine
from fathom.spec.measures import UNTRAINED, check_measure
from fathom.spec.net import HEAD, OWN, Net, Part
from fathom.spec.run import DEFAULTS, Base, Law, Limit, Optim, Probe, Run
from fathom.spec.words import (
    COLUMNS,
    DERIVED,
    DRAWN,
    EXAMPLES,
    FAMILIES,
    GAPS,
    LATER,
    MEASURED,
    MEASURES,
    METRICS,
    PHIS,
    PREDICTIONS,
    RULES,
    SIDES,
    TASKS,
    Refused,
    nearest,
    numbers,
)
