"""Fathom: how hyperparameters move with depth, replicated from three papers.

From the ground up: `spec` (what a run is), `phi` (nonlinearities), `store` (files); `networks`,
`training`, `measurement`, `sweeps` (finite networks), each using only those before it; `theory`
(infinite networks, which share nothing but phi with the finite ones); `law` and `claim` (optima,
exponents, verdicts); `draw` (pictures). They meet in notebooks and tests.
"""
