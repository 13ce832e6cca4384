"""Fathom: how hyperparameters move with depth, replicated from three papers.

Ground floor: `spec` (what a run is), `phi` (nonlinearities), `store` (files).
Rooms that never visit each other: `net` (finite networks), `law` and `claim`
(optima, exponents, verdicts), `draw` (pictures). They meet in notebooks and tests.
"""
