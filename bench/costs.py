"""What every entry of params.yaml would take from nothing: a few steps of every size, timed."""

import pandas as pd
import tqdm
from fathom.commands import checked, trained
from fathom.spec import Machine
from fathom.sweeps.plan import estimate
from fathom.training.kernels.blas import kernels

QUICK = 2  # entries where it has to be quick


def measure(quick: bool) -> pd.DataFrame:
    """A row for every entry of sweep and probe: its runs, and the minutes of one core for all of
    them, as `make plan` measures them where nothing is known."""
    here, rows = Machine(workers=1, device="cpu"), []
    asked = trained(None)[: QUICK if quick else None]
    for kind, name in tqdm.tqdm(asked, "a few steps of every entry", ncols=100):
        runs, how = checked(kind, name)
        seconds = float(estimate(runs, how, here)["core_seconds"].sum())
        rows.append({"entry": f"{kind}.{name}", "runs": len(runs), "core_minutes": seconds / 60})
    return pd.DataFrame(rows).assign(kernels=kernels())
