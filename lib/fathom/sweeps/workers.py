"""Where stacks are worked on: processes of this machine, or a Dask cluster.

Both hand back each stack as soon as it is done, in whichever order.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, cast

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from fathom.spec import Machine, Refused
from fathom.training.train import on

Row = dict[str, Any]
Job = tuple[Any, ...]
KEPT = "what is finished is kept, and the same command goes on from there"


def count(machine: Machine) -> int:
    """How many processes work here: one for each core, or one for the accelerator."""
    return machine.workers or (1 if on(machine.device) == "cuda" else cpu_count())


def finished(
    work: Callable[..., list[Row]], jobs: Sequence[Job], machine: Machine, crew: int
) -> Iterator[list[Row]]:
    """The results of work(*job), as they come: from `crew` processes here, or a cluster.

    Raises Refused where a worker died or ran out of memory, or no cluster answers."""
    if not jobs:
        return
    try:
        if machine.scheduler:
            yield from _cluster(work, jobs, machine.scheduler)
        else:
            yield from _local(work, jobs, min(crew, len(jobs)))
    except TerminatedWorkerError:
        raise Refused(
            "a worker was killed, probably out of memory; give fewer --workers or a smaller "
            f"--memory-gib; {KEPT}"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate" not in str(error):
            raise
        raise Refused(
            f"a worker ran out of memory; give fewer --workers or a smaller --memory-gib; {KEPT}"
        ) from None


def _local(work: Callable[..., list[Row]], jobs: Sequence[Job], crew: int) -> Iterator[list[Row]]:
    parallel = Parallel(
        n_jobs=crew,
        return_as="generator_unordered",
        pre_dispatch="2*n_jobs",
        batch_size=1,  # pyright: ignore[reportArgumentType]
        idle_worker_timeout=10,  # else workers whose parent is killed linger for minutes
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*tasks which were still being processed")
            yield from cast(Iterator[list[Row]], parallel(delayed(work)(*job) for job in jobs))
    finally:
        if crew > 1:  # killed, as a worker that died idle may hold the lock others would wait for
            get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)


def _cluster(
    work: Callable[..., list[Row]], jobs: Sequence[Job], scheduler: str
) -> Iterator[list[Row]]:
    """Joblib's Dask backend gives results only when all are there; Dask itself as they come.
    Jobs of a worker that dies go to the others, three times at most."""
    from dask.distributed import Client, as_completed
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        client: Any = Client(scheduler, timeout=10, set_as_default=False)
    except OSError:
        raise Refused(
            f"scheduler: nothing answers at {scheduler}; start one with: dask scheduler"
        ) from None
    except (TypeError, ValueError) as error:
        raise Refused(
            f"scheduler: cannot connect to {scheduler} ({str(error).splitlines()[0][:80]}); a "
            "tls:// address needs certificates in Dask's settings (docs/clusters.md)"
        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            print(f"waiting for workers at {scheduler}", flush=True)
        submitted = (client.submit(work, *job, pure=False) for job in jobs)
        try:
            for future in as_completed(submitted, loop=client.loop):
                yield future.result()
        except KilledWorker:
            raise Refused(
                f"four workers died on the same stack of runs, probably out of memory; {KEPT}"
            ) from None
        except (CancelledError, CommClosedError):
            raise Refused(f"the scheduler at {scheduler} is gone; start it again; {KEPT}") from None
