"""What runs are trained on."""

from typing import Annotated

from pydantic import Field

from fathom.spec.run import Part
from fathom.spec.words import one_of


def _said(name: str, what: str) -> str:
    return f"{what} (--{name.replace('_', '-')} or FATHOM_{name.upper()})"


class Machine(Part):
    """What runs are trained on. On processors of one type it changes no number."""

    workers: Annotated[
        int | None, Field(ge=1, description=_said("workers", "a whole number, at least 1"))
    ] = None
    memory_gib: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description=_said("memory_gib", "a number of GiB"))
    ] = 4.0
    scheduler: Annotated[
        str | None,
        Field(
            pattern=r"^(tcp|tls)://.+:\d+$",
            description=_said("scheduler", "the address of a Dask scheduler, tcp://host:port"),
        ),
    ] = None
    device: Annotated[
        str,
        Field(pattern="^(auto|cpu|cuda)$", description=_said("device", "one of auto, cpu, cuda")),
    ] = "auto"
    bar: Annotated[str, one_of(("auto", "text"))] = "auto"
