"""Many runs become one table: what is known is reused, the rest is trained side by side.

Runs of one shape are cut into stacks, the stacks go to workers (one thread each), and every
finished stack is handed to `keep` before the next is waited for. The table does not depend
on workers, order or what was known.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

import pandas as pd
import torch
import tqdm
import tqdm.auto

from fathom import measurement
from fathom.spec import COLUMNS, DEFAULTS, LATER, MEASURED, Machine, Run
from fathom.sweeps import workers
from fathom.sweeps.plan import estimate, forecast, placed, say, span, stacked, workers_allowed
from fathom.sweeps.workers import Row
from fathom.training.train import SAVED, Checkpoint, cost, numerics, on, pace, summary, train

CUDA = " cuda"  # ends the numerics of a row that a GPU trained
LONG = 2e13  # operations from which a sweep says beforehand what it will take, some minutes


class Kept(Checkpoint, Protocol):
    """A checkpoint that goes once its run is finished."""

    def discard(self) -> None: ...


def sweep(
    runs: Sequence[Run],
    *,
    measure: str = "train",
    known: pd.DataFrame | None = None,
    keep: Callable[[list[Row]], None] = lambda rows: None,
    checkpoint: Callable[[str, str], Kept | None] = lambda key, numerics: None,
    machine: Machine | None = None,
) -> pd.DataFrame:
    """The table of all runs, one row each: the run's columns, what was measured, the
    versions of the numerics and the run's key.

    A row of `known` is reused where key and numerics are unchanged. A large run goes on from
    its `checkpoint`. Raises Refused where a run does not fit into memory, a task has nothing
    to train on, or the workers are lost.
    """
    machine = placed(machine, measure)
    rows = {row["key"]: row for row in reusable(runs, measure, known)}
    missing = [run for run in runs if run.key not in rows]
    stacks = sorted(stacked(missing, measure, machine), key=lambda one: -sum(map(cost, one)))
    if sum(map(cost, missing)) > LONG * pace(machine.device):
        say(forecast(estimate(missing, measure, machine), machine))
    crews, saved = defaultdict(list), dict[str, Kept]()
    for one in stacks:
        large = _checkpoint(one, measure, machine, checkpoint)
        saved |= {one[0].key: large} if large else {}
        crews[workers_allowed(one, measure, machine)].append((one, measure, machine.device, large))
    lost = sum(map(_diverged, rows.values()))
    costs, start = {run.key: cost(run) for run in missing}, time.perf_counter()
    with _bar(machine, sum(costs.values()), len(missing), len(rows)) as bar:
        for done in _finished(crews, machine):
            keep(done)
            for row in done:
                if row["key"] in saved:
                    saved.pop(row["key"]).discard()
            rows |= {row["key"]: row for row in done}
            lost += sum(map(_diverged, done))
            bar.set_postfix_str(f"{len(rows)} of {len(runs)} done, {lost} diverged", refresh=False)
            bar.update(sum(costs[row["key"]] for row in done))
    if missing:
        seconds = time.perf_counter() - start
        say(f"{len(missing)} runs in {span(seconds)}, {len(missing) / seconds:.3g} a second")
    return _table([rows[run.key] for run in runs])


def _table(rows: list[Row]) -> pd.DataFrame:
    """The rows as a table: settings added later have a column where a run is not at the default,
    which the others are then at."""
    later = [name for name in LATER if any(name in row for row in rows)]
    rest = [name for name in rows[0] if name not in (*COLUMNS, *LATER)]
    full = [{name: DEFAULTS[name] for name in later} | row for row in rows]
    return pd.DataFrame(full)[[*COLUMNS, *later, *rest]]


def _finished(crews: dict[int, list[workers.Job]], machine: Machine) -> Iterator[list[Row]]:
    """All stacks, those that few workers may hold at once after the others."""
    for many in sorted(crews, reverse=True):
        yield from workers.finished(work, crews[many], machine, many)


def work(
    runs: Sequence[Run], measure: str, device: str, checkpoint: Checkpoint | None = None
) -> list[Row]:
    """The rows of one stack: what a worker does, on one thread."""
    torch.set_num_threads(1)
    if measure == "train":
        found = summary(train(runs, checkpoint=checkpoint, device=device))
    else:
        found = measurement.measured(runs, measure)
    where = CUDA if measure == "train" and on(device) == "cuda" else ""
    return [
        {**run.row(), **values, "numerics": version(run, measure) + where, "key": run.key}
        for run, values in zip(runs, found, strict=True)
    ]


def _checkpoint(
    runs: list[Run],
    measure: str,
    machine: Machine,
    checkpoint: Callable[[str, str], Kept | None],
) -> Kept | None:
    large = len(runs) == 1 and measure == "train" and cost(runs[0]) > SAVED * pace(machine.device)
    return checkpoint(runs[0].key, version(runs[0], measure)) if large else None


def _bar(machine: Machine, total: float, missing: int, known: int) -> tqdm.tqdm:
    """A line in the terminal, a bar in Jupyter."""
    kind = tqdm.tqdm if machine.bar == "text" else tqdm.auto.tqdm
    return kind(
        total=total,
        desc=f"{missing} runs to do, {known} known",
        bar_format="{desc}: {percentage:3.0f}% |{bar}| [{elapsed}, {remaining} left{postfix}]",
        ncols=110 if machine.bar == "text" else None,
        mininterval=1,
        disable=not missing,
    )


def version(run: Run, measure: str) -> str:
    """What a row's numbers depend on besides the run itself."""
    if measure == "train":
        return numerics(run)
    learned = measure in measurement.LEARNED
    return f"{numerics(run, learned)} {measure} {measurement.NUMERICS[measure]}"


def reusable(runs: Sequence[Run], measure: str, known: pd.DataFrame | None) -> list[Row]:
    """The rows of `known` that are rows of these runs, with the numerics of today, whichever
    device trained them. Only what was measured is taken from them: the columns that describe a
    run are the run's own. An empty value means that it was not measured (but small gaps have no
    place in few blocks)."""
    measured = MEASURED[measure]
    if known is None or not {"key", "numerics", *measured} <= set(known.columns):
        return []
    asked = {run.key: run for run in runs}
    today = {key: version(run, measure) for key, run in asked.items()}
    whole = {name: float for name in measured if known[name].dtype.kind == "i"}
    known = known.astype(whole)  # a column of whole numbers holds numbers like any other
    found = cast(list[Row], known.drop_duplicates("key", keep="last").to_dict("records"))
    return [
        {**asked[key].row(), **{name: row[name] for name in measured}}
        | {"numerics": row["numerics"], "key": key}
        for row in found
        if (key := row["key"]) in asked
        and row["numerics"] in (today[key], today[key] + CUDA)
        and all(isinstance(row[name], float) for name in measured)
        and not any(row[name] != row[name] for name in measured if not name.startswith("gap_"))
    ]


def _diverged(row: Row) -> bool:
    return row.get("loss_mean") == float("inf")
