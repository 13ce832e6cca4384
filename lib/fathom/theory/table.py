"""Many infinite networks as one table."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from fathom.theory.cases import BAR
from fathom.theory.cases import rows as rows_of
from fathom.theory.linear import layer_sizes, linear
from fathom.theory.nonlinear import nonlinear


def table(networks: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> pd.DataFrame:
    """One row per infinite network: its own columns, then `layer_sizes`; each is given as its
    columns and what `linear` is called with or, where it names equations, `nonlinear`. What is
    given twice alike, as seeds that see the same examples are, is solved once. What names a
    solver has rows as `cases` makes them."""
    networks = list(networks)
    if networks and "solve" in networks[0][1]:
        return pd.DataFrame(rows_of(networks))
    rows, solved = [], {}
    for columns, given in tqdm.tqdm(networks, **BAR):
        same = tuple(
            value.tobytes() if isinstance(value, np.ndarray) else value for value in given.values()
        )
        if same not in solved:
            solve = nonlinear if "equations" in given else linear
            solved[same] = layer_sizes(solve(**given))
        rows.append({**columns, **solved[same]})
    return pd.DataFrame(rows)
