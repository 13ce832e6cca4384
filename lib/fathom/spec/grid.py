"""An entry of params.yaml becomes a list of runs, or one sentence about what is wrong."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from fathom.spec.limits import SOLVED_BY, Solvable
from fathom.spec.net import Net, Part
from fathom.spec.run import Base, Limit, Optim, Run
from fathom.spec.words import WORDS, Refused, nearest

P = TypeVar("P", bound=Part)
PARTS: dict[str, type[Part]] = {"net": Net, "base": Base, "optim": Optim}
MOST = 250_000  # runs in an entry, ten times as many as the papers' largest: about 0.3 GB


@dataclass(frozen=True)
class Grid:
    """A grid whose every value is checked, but not yet every combination: where it is written,
    and the values of each field, such as ("optim", "log2_lr") or ("seed",)."""

    place: str
    axes: dict[tuple[str, ...], list[Any]]

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values()))

    def swept(self) -> str:
        """What makes it large, such as "401 log2_lr x 5 seed"."""
        many = {path[-1]: len(values) for path, values in self.axes.items() if len(values) > 1}
        return " x ".join(f"{size} {name}" for name, size in many.items())


def count(entry: object, place: str = "entry") -> int:
    """How many runs an entry has, known from its lists alone. Raises Refused as `grid` does, but
    for what is wrong with a combination."""
    return sum(map(len, _grids(entry, place, Run)))


def grid(entry: object, place: str = "entry") -> list[Run]:
    """Every run of an entry: scalars are fixed, lists and {range: [first, last, step]} are
    swept, a list of grids, or a mapping of grids by name, is their union. `place` (such as
    "params.yaml sweep.name") begins every error sentence. Raises Refused for anything that is
    not exactly understood, and for more than MOST runs."""
    runs: dict[str, str] = {}
    found: list[Run] = []
    for one in _grids(entry, place, Run):
        for run in _runs(one):
            before = runs.setdefault(run.key, one.place)
            if len(runs) == len(found):
                raise Refused(
                    f"{one.place}: the run {_short(run)} is already named in {before}; "
                    "name each run once"
                )
            found.append(run)
    return found


def limits(entry: object, place: str = "entry") -> list[Limit]:
    """Every limit of an entry, which is read as a grid of runs is. Raises Refused for anything
    that is not exactly understood, and for more than MOST limits."""
    found = [
        settings(Limit, dict(zip([path[0] for path in one.axes], choice, strict=True)), one.place)
        for one in _grids(entry, place, Limit)
        for choice in itertools.product(*one.axes.values())
    ]
    if len(set(found)) < len(found):
        raise Refused(f"{place}: a limit is named twice; name each once")
    return found


def cases(entry: object, place: str = "entry") -> list[Solvable]:
    """What an entry of limit solves: {solve, cases}, whose cases are read as a grid of runs is, or
    limits without a word about it. Raises Refused for anything that is not exactly understood."""
    if not isinstance(entry, Mapping) or "solve" not in entry:
        return [*limits(entry, place)]
    said = _mapping(entry, place, ("solve", "cases"))
    if said["solve"] not in SOLVED_BY or "cases" not in said:
        what = f"solve: {said['solve']!r} {nearest(said['solve'], SOLVED_BY)}"
        raise Refused(
            f"{place}: cases is missing" if said["solve"] in SOLVED_BY else f"{place}.{what}"
        )
    found: list[Solvable] = [
        settings(whole, dict(zip([path[0] for path in one.axes], choice, strict=True)), one.place)
        for whole in [SOLVED_BY[said["solve"]]]
        for one in _grids(said["cases"], f"{place}.cases", whole)
        for choice in itertools.product(*one.axes.values())
    ]
    if len(set(found)) < len(found):
        raise Refused(f"{place}: a case is named twice; name each once")
    return found


def _grids(entry: object, place: str, whole: type[Part]) -> list[Grid]:
    """The grids of an entry, which is one grid, a list of them, or a mapping from names."""
    fields = whole.model_fields
    if isinstance(entry, list):
        if not entry:
            raise Refused(f"{place}: an empty list has no runs; give at least one grid")
        parts = {f"{place}[{number}]": one for number, one in enumerate(entry)}
    elif isinstance(entry, Mapping) and _by_name(entry, fields):
        parts = {f"{place}.{name}": one for name, one in entry.items()}
    else:
        parts = {place: entry}
    found = [Grid(where, _axes(one, where, whole)) for where, one in parts.items()]
    many = sum(map(len, found))
    if many > MOST:
        largest = max(found, key=len)
        there = f"{largest.place} alone {len(largest)}, " if len(found) > 1 else ""
        raise Refused(
            f"{place}: {many} runs ({there}{largest.swept()}) and at most {MOST} are allowed in "
            "an entry; give shorter lists, or several entries"
        )
    return found


def _by_name(entry: Mapping[Any, Any], fields: Iterable[str]) -> bool:
    """Whether a mapping holds grids: none of its keys is a field of a run, a value has some."""
    return not set(entry) & set(fields) and any(
        isinstance(one, Mapping) and set(one) & set(fields) for one in entry.values()
    )


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


def _axes(one: object, place: str, whole: type[Part]) -> dict[tuple[str, ...], list[Any]]:
    """The values of every field of a grid, each of them checked."""
    said = _mapping(one, place, whole.model_fields)
    parts = PARTS if whole is Run else {}
    axes: dict[tuple[str, ...], list[Any]] = {}
    for key, value in said.items():
        if key not in parts:
            axes[(key,)] = _values(value, f"{place}.{key}", whole, key)
            continue
        inner = _mapping(value, f"{place}.{key}", parts[key].model_fields)
        for name, choice in inner.items():
            axes[(key, name)] = _values(choice, f"{place}.{key}.{name}", parts[key], name)
    for key, field in whole.model_fields.items():
        if field.is_required() and key not in said:
            raise Refused(f"{place}: {key} is missing; give {', '.join(whole.model_fields)}")
        for name, inner in (parts[key].model_fields if key in parts else {}).items():
            if inner.is_required() and (key, name) not in axes:
                raise Refused(f"{place}.{key}: {name} is missing; {_allowed(parts[key], name)}")
    return axes


def _runs(one: Grid) -> Iterator[Run]:
    """The runs of a grid. Runs share their parts; and as any seed goes with anything, what
    differs in nothing else is checked once."""
    axes: dict[str, list[Any]] = {}
    for name, group in itertools.groupby(one.axes, key=lambda path: path[0]):
        axes[name] = one.axes[(name,)] if name not in PARTS else _parts(one, name, list(group))
    seen: dict[tuple[Any, ...], Run] = {}
    for choice in itertools.product(*axes.values()):
        said = dict(zip(axes, choice, strict=True))
        seed = said.pop("seed")
        rest = tuple(said.values())
        if rest not in seen:
            seen[rest] = _checked(Run, {**said, "seed": seed}, one.place)
        yield seen[rest].model_copy(update={"seed": seed})


def _parts(one: Grid, name: str, paths: list[tuple[str, ...]]) -> list[Part]:
    choices = itertools.product(*(one.axes[path] for path in paths))
    names = [path[1] for path in paths]
    return [
        _checked(PARTS[name], dict(zip(names, choice, strict=True)), one.place)
        for choice in choices
    ]


def _checked(part: type[P], said: dict[str, Any], place: str) -> P:
    try:
        return part.model_validate(said)
    except ValidationError as error:
        raise Refused(f"{place}: {_why(error)}") from None


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
    many = (last - first) / step + 1 if step > 0 else 0
    if many > MOST:
        raise Refused(
            f"{place}: the range {ends!r} has {many:.7g} values, more than the {MOST} runs that "
            "an entry may have; give a shorter one, or a larger step"
        )
    if many < 1 or many != int(many):
        raise Refused(
            f"{place}: the range {ends!r} does not go from its first to its last value "
            "in whole steps; give [first, last, step] with step above 0"
        )
    return [first + i * step for i in range(int(many))]
