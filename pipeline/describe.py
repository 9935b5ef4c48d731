"""`tamis ops`: operators documented from their own classes."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from operators.contract import ColumnOp, Kind, LoopOp, Operator, Recipe
from pipeline.catalog import FLOORS, SHAPES, OpSpec, find, names
from pipeline.errors import ConfigError
from pipeline.fields import field_text

WIDTH = 100
ALSO_ALONE = {"kmeans", "lm_loss"}  # parts of recipes that users name in their configs as well
FLOOR_TEXT = {"operators": "CPU operators", "gpu_ops": "operators with a model or a device"}


def overview() -> str:
    """Every operator in one line, by floor and shape; what recipes are made of comes last."""
    kinds, missing = _all()
    inner = {part for name, kind in kinds.items() for part in _parts(OpSpec(name), kind)} - ALSO_ALONE
    width = max(map(len, names()), default=0)
    lines: list[str] = []
    for floor in FLOORS:
        for shape in sorted(SHAPES, key=lambda shape: shape != Recipe.__name__):
            found = {n: k for n, k in kinds.items() if _place(n, k) == (floor, shape) and n not in inner}
            lines += _section(f"{FLOOR_TEXT[floor]}: {shape}", found, width)
    lines += _section("parts of recipes, usable alone", {n: kinds[n] for n in kinds if n in inner}, width)
    lines += [f"{name:<{width}}  {text}" for name, text in missing.items()]
    return "\n".join([*lines, "`tamis ops NAME` shows fields, columns and an example"])


def _section(title: str, kinds: Mapping[str, type[Operator]], width: int) -> list[str]:
    lines = [f"  {name:<{width}}  {summary(kind)}" for name, kind in kinds.items()]
    return [title, *lines, ""] if lines else []


def _place(name: str, kind: type[Operator]) -> tuple[str, str]:
    return names()[name].partition(".")[0], shape_of(kind)


def _all() -> tuple[dict[str, type[Operator]], dict[str, str]]:
    """The classes by name, and what is missing for those that do not load."""
    kinds: dict[str, type[Operator]] = {}
    missing: dict[str, str] = {}
    for name in names():
        try:
            kinds[name] = OpSpec(name).cls()
        except ConfigError as error:
            missing[name] = str(error)
    return kinds, missing


def _parts(spec: OpSpec, kind: type[Operator]) -> set[str]:
    """The operators of which this one is made, over all its examples."""
    found = [spec.check(dict(fields))[0] for fields in kind.examples]
    made = [operator.parts() for operator in found if isinstance(operator, Recipe)]
    made += [operator.step(number) for operator in found if isinstance(operator, LoopOp) for number in (0, 1)]
    return {part.op for parts in made for part in parts}


def shape_of(kind: type[Operator]) -> str:
    """The name of the operator's shape, such as MapOp."""
    return next(name for name, shape in SHAPES.items() if issubclass(kind, shape))


def summary(kind: type[Operator]) -> str:
    """The first sentence of the documentation, on one line."""
    paragraph = (inspect.getdoc(kind) or "").split("\n\n")[0]
    return textwrap.shorten(" ".join(paragraph.split()).split(". ")[0].rstrip("."), WIDTH, placeholder=" ...")


def describe(name: str, base: Path) -> str:
    """All that is known of one operator; `name` may be the path of a user's file."""
    spec = find(name, base)
    kind = spec.cls()
    floor = "a user's file" if spec.source is not None else kind.__module__.partition(".")[0]
    shape = shape_of(kind)
    lines = [f"{spec.name}: {shape} of {floor}, version {kind.version}", ""]
    lines += [inspect.getdoc(kind) or "", ""]
    lines += [f"{shape}: {' '.join((inspect.getdoc(SHAPES[shape]) or '').split())}", ""]
    lines += ["fields", *_fields(kind), ""]
    operator = _sample(spec, kind)
    if operator is not None:
        lines += _columns(operator)
    lines += ["example", *_example(name if spec.source is not None else spec.name, spec.name, kind)]
    return "\n".join(_wrapped(lines))


def _wrapped(lines: list[str]) -> Iterator[str]:
    """Lines of prose that are too long, folded; indented and code lines as they are."""
    for line in lines:
        yield line if line[:1] in ("", " ") or "\n" in line else textwrap.fill(line, WIDTH)


def _fields(kind: type[Operator]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield f"  {name}: {field_text(field)}{_default(field)}"
        if field.description:
            text = " ".join(field.description.split())
            yield textwrap.fill(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    if not kind.model_fields:
        yield "  none"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "  (required)"
    value = field.get_default(call_default_factory=True)
    return f" = {'null' if value is None else repr(value)}"


def _sample(spec: OpSpec, kind: type[Operator]) -> Operator | None:
    """The operator with default fields, else with those of its first example."""
    for fields in ({}, *kind.examples):
        operator, problems = spec.check(dict(fields))
        if not problems:
            return operator
    return None


def _columns(operator: Operator) -> Iterator[str]:
    if isinstance(operator, Recipe):
        yield "parts"
        parts = operator.parts()
        width = max(len(part.name) for part in parts)
        for part in parts:
            used = f", uses {', '.join(part.uses.values())}" if part.uses else ""
            yield f"  {part.name:<{width}}  {part.op}{used}"
        yield ""
    if isinstance(operator, ColumnOp):
        for title, columns in (("reads", operator.reads), ("adds", operator.adds)):
            yield title
            yield from (f"  {line}" for line in _types(columns))
            yield ""


def _types(columns: Mapping[str, Any]) -> list[str]:
    shown = {name: kind.value if isinstance(kind, Kind) else str(kind) for name, kind in columns.items()}
    return [f"{name}: {text}" for name, text in shown.items()] or ["nothing"]


def _example(op: str, name: str, kind: type[Operator]) -> list[str]:
    fields = next((example for example in kind.examples if example), {})
    node = {name: {"op": op, **fields}}
    text = yaml.safe_dump({"nodes": node}, default_flow_style=None, sort_keys=False, width=WIDTH)
    return [f"  {line}" for line in text.splitlines()]
