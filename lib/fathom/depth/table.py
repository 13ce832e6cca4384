"""Many modules in one table."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from torch import nn

from fathom.depth.trace import trace
from fathom.spec import Refused


def trace_table(models: Mapping[str, tuple[nn.Module, Any]]) -> pd.DataFrame:
    """A row for each module with its example (a tensor, a tuple of inputs in order, or a mapping
    by name): layers and residual additions in all, effective depth by the shortest path and by
    layers one after another, the layers of the stem left out, log2 of the number of paths and of
    the sum of their lengths cubed, and the reason where there is no depth. Missing numbers are
    missing."""
    rows = []
    for name, (module, example) in models.items():
        inputs = example if isinstance(example, tuple) else (example,)
        try:
            found = trace(module, *inputs)
        except Refused as reason:
            rows.append({"name": name, "refused": str(reason)})
            continue
        depth, paths = found.depth, found.paths
        rows.append(
            {
                "name": name,
                "layers": found.layers,
                "additions": found.additions,
                "effective_depth": depth.value,
                "sequential": depth.other,
                "offset": depth.convention.offset,
                "log2_paths": math.log2(paths.number),
                "log2_cubes": math.log2(paths.cubes) if paths.cubes else -math.inf,
                "refused": "",
            }
        )
    columns = ["name", *WHOLE, "log2_paths", "log2_cubes", "refused"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(WHOLE, "Int64"))


WHOLE = ["layers", "additions", "effective_depth", "sequential", "offset"]
