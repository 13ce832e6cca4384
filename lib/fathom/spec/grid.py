"""An entry of params.yaml becomes a list of runs, or one sentence about what is wrong."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from fathom.spec.run import Base, Limit, Net, Optim, Part, Run
from fathom.spec.words import WORDS, Refused, nearest

P = TypeVar("P", bound=Part)
PARTS: dict[str, type[Part]] = {"net": Net, "base": Base, "optim": Optim}


def grid(entry: object, place: str = "entry") -> list[Run]:
    """Every run of an entry: scalars are fixed, lists and {range: [first, last, step]} are
    swept, a list of grids is their union. `place` (such as "params.yaml sweep.name") begins
    every error sentence. Raises Refused for anything that is not exactly understood."""
    grids = entry if isinstance(entry, list) else [entry]
    if not grids:
        raise Refused(f"{place}: an empty list has no runs; give at least one grid")
    runs: dict[str, str] = {}
    found: list[Run] = []
    for number, one in enumerate(grids):
        where = f"{place}[{number}]" if isinstance(entry, list) else place
        for run in _expand(one, where):
            if run.key in runs:
                raise Refused(
                    f"{where}: the run {_short(run)} is already named in {runs[run.key]}; "
                    "name each run once"
                )
            runs[run.key] = where
            found.append(run)
    return found


def limits(entry: object, place: str = "entry") -> list[Limit]:
    """Every limit of an entry, which is read as a grid of runs is: lists and ranges are swept, a
    list of grids is their union. Raises Refused for anything that is not exactly understood."""
    found: list[Limit] = []
    for number, one in enumerate(entry if isinstance(entry, list) else [entry]):
        where = f"{place}[{number}]" if isinstance(entry, list) else place
        said = _mapping(one, where, Limit.model_fields)
        axes = {
            name: _values(value, f"{where}.{name}", Limit, name) for name, value in said.items()
        }
        for choice in itertools.product(*axes.values()):
            found.append(settings(Limit, dict(zip(axes, choice, strict=True)), where))
    if not found:
        raise Refused(f"{place}: an empty list has no limits; give at least one grid")
    if len(set(found)) < len(found):
        raise Refused(f"{place}: a limit is named twice; name each once")
    return found


def settings(part: type[P], entry: object, place: str) -> P:
    """An entry that is not a grid (Probe, Law), checked; raises Refused naming the place."""
    said = dict(_mapping(entry, place, part.model_fields))
    for name, field in part.model_fields.items():
        if field.is_required() and name not in said:
            raise Refused(f"{place}: {name} is missing; give {', '.join(part.model_fields)}")
    try:
        return part.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise Refused(f"{place}: {_why(error)}") from None
        where, *rest = map(str, first["loc"])
        said_what = f"{place}.{'.'.join([where, *rest])}: {first['input']!r}"
        if first["type"] == "value_error":
            raise Refused(f"{said_what} {_why(error)}") from None
        raise Refused(f"{said_what} is not allowed; {_allowed(part, where)}") from None


def _short(run: Run) -> str:
    net, optim = run.net, run.optim
    return (
        f"({net.family}, {run.rules}, {net.phi}, width {net.width}, depth {net.depth}, "
        f"log2_lr {optim.log2_lr:g}, {run.task}, seed {run.seed})"
    )


def _mapping(said: object, place: str, known: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(said, Mapping):
        raise Refused(f"{place}: found {said!r}; give a mapping with {', '.join(known)}")
    for key in said:
        if key not in known:
            hint = nearest(key, known)
            if str(key) in ("lr", "rate", "learning_rate", "eta"):
                hint = "is not a key; give optim.log2_lr, the base-2 logarithm of the rate"
            raise Refused(f"{place}.{key}: {key} {hint}")
    return said


def _expand(one: object, place: str) -> list[Run]:
    said = _mapping(one, place, Run.model_fields)
    axes: dict[tuple[str, ...], list[Any]] = {}
    for key, value in said.items():
        if key not in PARTS:
            axes[(key,)] = _values(value, f"{place}.{key}", Run, key)
            continue
        inner = _mapping(value, f"{place}.{key}", PARTS[key].model_fields)
        for name, choice in inner.items():
            axes[(key, name)] = _values(choice, f"{place}.{key}.{name}", PARTS[key], name)
    for key in Run.model_fields:
        if key not in said:
            raise Refused(f"{place}: {key} is missing; give {', '.join(Run.model_fields)}")
        for name, field in (PARTS[key].model_fields if key in PARTS else {}).items():
            if field.is_required() and (key, name) not in axes:
                raise Refused(f"{place}.{key}: {name} is missing; {_allowed(PARTS[key], name)}")
    runs = []
    for choice in itertools.product(*axes.values()):
        row: dict[str, Any] = {key: {} for key in PARTS}
        for path, value in zip(axes, choice, strict=True):
            if len(path) == 1:
                row[path[0]] = value
            else:
                row[path[0]][path[1]] = value
        try:
            runs.append(Run.model_validate(row))
        except ValidationError as error:
            raise Refused(f"{place}: {_why(error)}") from None
    return runs


def _values(said: object, place: str, part: type[Part], name: str) -> list[Any]:
    """The list of values that one key of an entry stands for, each of them checked."""
    values = [said]
    if isinstance(said, Mapping):
        values = _range(said, place)
    elif isinstance(said, list):
        values = said
        if not values:
            raise Refused(f"{place}: an empty list leaves nothing to run; {_allowed(part, name)}")
    info = part.model_fields[name]
    check: TypeAdapter[Any] = TypeAdapter(_annotated(info))
    checked = []
    for value in values:
        try:
            checked.append(check.validate_python(value, strict=True))
        except ValidationError as error:
            if error.errors()[0]["type"] == "value_error":
                raise Refused(f"{place}: {value!r} {_why(error)}") from None
            raise Refused(f"{place}: {value!r} is not allowed; {_allowed(part, name)}") from None
    return checked


def _annotated(info: FieldInfo) -> Any:
    """A field's type with its constraints, for checking a value on its own."""
    plain: Any = info.annotation
    return Annotated[plain, *info.metadata] if info.metadata else plain


def _why(error: ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def _allowed(part: type[Part], name: str) -> str:
    described = part.model_fields[name].description
    if described:
        return f"{name} is {described}"
    many = "a list of" if name in ("by", "predictions") else "one of"
    return f"{name} is {many} {', '.join(WORDS[name])}"


def _finite(number: Any) -> bool:
    return type(number) in (int, float) and math.isfinite(number)


def _range(said: Mapping[str, Any], place: str) -> list[float]:
    given: Any = said.get("range")
    ends = given if isinstance(given, list) and set(said) == {"range"} else []
    if len(ends) not in (2, 3) or not all(_finite(end) for end in ends):
        raise Refused(f"{place}: found {dict(said)!r}; a range is {{range: [first, last, step]}}")
    first, last, step = (*ends, 1)[:3]
    count = (last - first) / step + 1 if step > 0 else 0
    if count < 1 or count != int(count):
        raise Refused(
            f"{place}: the range {ends!r} does not go from its first to its last value "
            "in whole steps; give [first, last, step] with step above 0"
        )
    return [first + i * step for i in range(int(count))]
