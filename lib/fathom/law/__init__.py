"""Optima, how they move, and what it costs to assume that they do not.

Tables come in, tables and intervals go out. All rates are base-2 logarithms, all losses
natural logarithms. Every interval is Student's t over seeds, on a statistic computed seed
by seed (seeds are paired: one seed fixes weights and batches of every run that has it).
"""

from collections.abc import Callable

import pandas as pd

from fathom.law.advice import FAR, FITTED, FITTED_TO, NETWORKS, Cost, advice, regret, regrets
from fathom.law.convergence import beside, bias, changes, departures, proxy
from fathom.law.curves import above, distances, each, fifths, guides, sizes, tuned
from fathom.law.fits import FITS, fit, fits, local_formula, local_slopes
from fathom.law.formula import (
    PREDICTIONS,
    carried,
    chain_constant,
    finite_depth,
    formula,
    formula_exponent,
)
from fathom.law.hazards import hazards
from fathom.law.interval import Interval, interval, seeds_for, together, two_stage, where
from fathom.law.measures import (
    MEASURES,
    UNUSABLE,
    mean_regret,
    regret_gap,
    slope,
    slope_gap,
    slopes,
    worst_gap,
    worst_ratio,
)
from fathom.law.optima import (
    bands,
    common,
    loss_at,
    lowest,
    one_step_optima,
    optima,
    sized,
    summary,
    tilted,
    transfer,
    viable,
)
from fathom.law.phases import phases

DERIVED: dict[str, Callable[..., pd.DataFrame]] = {
    "optima": optima,
    "transfer": transfer,
    "common": common,
    "one_step": one_step_optima,
    "viable": viable,
    "hazards": hazards,
}
