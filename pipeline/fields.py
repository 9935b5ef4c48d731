"""What a model's fields accept: type texts, counts written as `150k`, and readable validation errors."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipeline.sizes import parse_count
from pipeline.suggest import did_you_mean

LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a set of fields: where (keys and indexes), and what."""

    where: tuple[str | int, ...]
    text: str


def alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, Annotated taken off; a plain type is its own only member."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from alternatives(member)
    else:
        yield annotation


def type_text(annotation: Any) -> str:
    """`int | None`, `"raw" | "words"`, `list[str]`."""
    return " | ".join(dict.fromkeys(_one_type(member) for member in alternatives(annotation)))


def _one_type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in arguments)
    if origin is not None:
        inside = ("..." if part is ... else type_text(part) for part in arguments)
        return f"{origin.__name__}[{', '.join(inside)}]"
    return getattr(annotation, "__name__", str(annotation))


def field_text(field: FieldInfo) -> str:
    """Type and limits of a field: `float, > 0, <= 1`."""
    limits = [
        f"{sign} {getattr(mark, name)}"
        for mark in _marks(field.annotation, field.metadata)
        for name, sign in LIMITS.items()
        if getattr(mark, name, None) is not None
    ]
    return ", ".join([type_text(field.annotation), *limits])


def _marks(annotation: Any, metadata: list[Any]) -> Iterator[Any]:
    yield from metadata
    for member in get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ():
        if get_origin(member) is Annotated:
            yield from get_args(member)[1:]


def known_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields under the names that a config writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def whole_counts(model: type[BaseModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with `150k`, `1.5M`, `2B` read as numbers where the model wants integers, also in
    lists and mappings of them."""
    known = known_fields(model)
    return {
        name: _counts(known[name].annotation, value) if name in known else value
        for name, value in fields.items()
    }


def _counts(annotation: Any, value: Any) -> Any:
    members = list(alternatives(annotation))
    if isinstance(value, str):
        return _count(value) if int in members and str not in members else value
    for member in members:
        origin, inside = get_origin(member), get_args(member)
        if isinstance(value, dict) and isinstance(origin, type) and issubclass(origin, Mapping) and inside:
            return {key: _counts(inside[1], item) for key, item in value.items()}
        if isinstance(value, list) and origin in (list, tuple) and inside:
            return [_counts(inside[0], item) for item in value]
    return value


def _count(text: str) -> int | str:
    try:
        return parse_count(text)
    except ValueError:
        return text


def booleans(model: type[BaseModel], fields: Mapping[str, Any], owner: str) -> list[Problem]:
    """Fields that take numbers and were given true or false, which pydantic would read as 1 and 0."""
    known = known_fields(model)
    return [
        Problem(
            (name,),
            f"{owner}: {name} = {str(value).lower()}: a number is wanted, not true or false; "
            f"{name} is {field_text(known[name])}{_meaning(known[name])}",
        )
        for name, value in fields.items()
        if isinstance(value, bool) and name in known and _only_numbers(known[name].annotation)
    ]


def _only_numbers(annotation: Any) -> bool:
    members = set(alternatives(annotation))
    return bool(members & {int, float}) and not members & {bool, str, Any, object}


def problems_of(error: ValidationError, model: type[BaseModel], owner: str) -> list[Problem]:
    """A pydantic error as problems that name the field, the value, what it takes and what it means."""
    found: dict[tuple[str | int, ...], Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(detail, model, owner)
        found.setdefault(problem.where[:1] if len(problem.where) > 1 else problem.where, problem)
    return list(found.values())


def _problem(detail: Mapping[str, Any], model: type[BaseModel], owner: str) -> Problem:
    where = tuple(detail["loc"])
    text = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if not where:
        return Problem((), text if text.startswith(f"{owner} ") else f"{owner}: {text}")
    name = str(where[0])
    if detail["type"] == "extra_forbidden" and len(where) == 1:
        return Problem(where, f"{owner} has no field {name!r}{did_you_mean(name, known_fields(model))}")
    field = known_fields(model).get(name)
    takes = "" if field is None else f"; {name} is {field_text(field)}{_meaning(field)}"
    if detail["type"] == "missing" and len(where) == 1:
        return Problem(where, f"{owner} needs the field {name!r}{takes}")
    text = text[:1].lower() + text[1:]
    inner = where[-1] if len(where) > 1 and field is not None else None
    if detail["type"] == "extra_forbidden" and isinstance(inner, str):
        known = sorted(_inner_fields(field.annotation)) if field is not None else []
        return Problem(where, f"{owner}: {name} has no key {inner!r}{did_you_mean(inner, known)}{takes}")
    if field is not None and inner in _inner_fields(field.annotation):
        name = f"{name}.{inner}"
    return Problem(where, f"{owner}: {name} = {_short(detail['input'])}: {text}{takes}")


def _inner_fields(annotation: Any) -> set[str]:
    """The names of the fields of all models in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return set(known_fields(annotation))
    return {name for part in get_args(annotation) for name in _inner_fields(part)}


def _meaning(field: FieldInfo) -> str:
    return f" ({' '.join(field.description.split()).rstrip('.')})" if field.description else ""


def _short(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
