"""The law of form: what every operator's file holds, so that configs and plans can rely on it."""

from __future__ import annotations

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from operators.contract import DROP, ColumnOp, Kind, MapOp, Operator, ReduceOp, ShuffleOp
from pipeline.catalog import OpSpec
from pipeline.errors import ConfigError
from pipeline.law_bench import BrokenLaw


def form(spec: OpSpec, part: bool) -> str:
    """A class named after its file, documented, frozen, with valid examples and pure declarations.

    part: it is a part of a recipe, which needs no examples of its own."""
    kind = spec.cls()
    _named(spec, kind)
    _documented(kind)
    if not kind.examples and not part:
        raise BrokenLaw(f"{kind.__name__}.examples is empty: the laws need fields to try it with")
    for fields in kind.examples or ({},):
        try:
            operator = spec.build(dict(fields))
        except ConfigError as error:
            if not kind.examples:
                continue
            raise BrokenLaw(f"the example {fields} is not valid: {error}") from None
        _frozen(operator)
        if isinstance(operator, ColumnOp):
            _declared(operator)
    return f"{len(kind.model_fields)} fields, {len(kind.examples)} examples"


def _named(spec: OpSpec, kind: type[Operator]) -> None:
    wanted = "".join(word.capitalize() for word in spec.name.split("_"))
    if kind.__name__.lower() != wanted.lower():
        raise BrokenLaw(f"the class in {spec.name}.py is called {kind.__name__}; call it {wanted}")


def _documented(kind: type[Operator]) -> None:
    if not (kind.__dict__.get("__doc__") or "").strip():
        raise BrokenLaw(f"{kind.__name__} has no docstring; it is what `tamis ops` shows")
    for name, field in kind.model_fields.items():
        if not (field.description or "").strip():
            raise BrokenLaw(f"the field {name} has no docstring; write a string literal below it")


def _frozen(operator: Operator) -> None:
    config = type(operator).model_config
    if not config.get("frozen") or config.get("extra") != "forbid":
        raise BrokenLaw(f"{type(operator).__name__} changes model_config; fields are frozen, others refused")
    for name in type(operator).model_fields:
        try:
            BaseModel.__setattr__(operator, name, getattr(operator, name))
        except ValidationError:
            continue
        raise BrokenLaw(f"the field {name} can be assigned to; operators are frozen")


def _declared(operator: ColumnOp) -> None:
    """`reads` and its like are pure functions of the fields, and hold types."""
    names = ["reads", "adds"]
    names += ["emits"] if isinstance(operator, ReduceOp | ShuffleOp) else []
    names += ["replies"] if isinstance(operator, ShuffleOp) else []
    for name in names:
        first = dict(getattr(operator, name))
        given = getattr(operator, name)
        if isinstance(given, dict):
            given.clear()
        if dict(getattr(operator, name)) != first:
            raise BrokenLaw(
                f"{name} gives other columns the second time, or a dict that it keeps; build a new one"
            )
        allowed = (pa.DataType, Kind) if name == "reads" else (pa.DataType,)
        for column, dtype in first.items():
            if not isinstance(dtype, allowed):
                raise BrokenLaw(f"{name}[{column!r}] is {dtype!r}, not an Arrow type such as pa.int64()")
    where = operator.where if isinstance(operator, MapOp | ReduceOp | ShuffleOp) else ""
    if where and operator.reads.get(where) != pa.bool_():
        raise BrokenLaw(
            f"where is {where!r}, but reads[{where!r}] is not pa.bool_(): name a column of truths"
        )
    if operator.adds.get("drop", DROP) != DROP:
        raise BrokenLaw(f"adds['drop'] is {operator.adds['drop']}; a drop column is DROP, see drop_column()")
    if clash := sorted(set(operator.adds) & {"uid", "key", "row", "quarantine"}):
        raise BrokenLaw(f"adds has {clash[0]!r}, a name that the engine needs; choose another one")
