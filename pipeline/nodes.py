"""What a graph is made of: nodes, the wishes that they come from, and what identifies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from operators.contract import (
    ColumnOp,
    FitOp,
    FoldOp,
    Kind,
    LoopOp,
    MapOp,
    Operator,
    ReduceOp,
    ScoreOp,
    ShuffleOp,
    UserFile,
)
from pipeline.catalog import OpSpec
from pipeline.engine import Resources
from pipeline.identity import content_identity
from pipeline.manifest import Manifest
from pipeline.view import Alive, Column

SHAPES: tuple[type[ColumnOp], ...] = (MapOp, ScoreOp, FoldOp, FitOp, ShuffleOp, ReduceOp, LoopOp)
MAIN = ""
SIZE = "source/size"
GUARDED_ROWS = 100  # a smaller source is not judged by an operator's own guard, only by `max_drop_share`


@dataclass(frozen=True)
class Guard:
    """How much of one source a node may drop. before: who is alive above the node, or above the whole
    recipe that it is the face of. asked: the config says so; small sources are judged as well."""

    share: float
    asked: bool
    before: Alive

    def broken(self, rows: int, dropped: int) -> bool:
        return dropped > self.share * rows and (self.asked or rows >= GUARDED_ROWS)


@dataclass(frozen=True)
class Node:
    """One operator with everything that it needs to run: picklable, and complete without the plan."""

    name: str
    op: str
    spec: OpSpec
    fields: dict[str, Any]
    shape: str
    inputs: tuple[str, ...]
    uses: dict[str, str]  # the operator's name for an artifact -> the node that makes it
    artifacts: dict[str, str]  # the operator's name for an artifact -> that node's key
    reads: dict[str, Column]
    adds: dict[str, pa.DataType]
    key: str
    alive: Alive
    after: Alive
    positional: bool
    recipe: str | None = None
    face: bool = True
    data: str = MAIN
    resources: Resources = field(default_factory=Resources)
    quarantine: bool = False
    guard: Guard | None = None
    body: frozenset[str] = frozenset()  # what a loop's rounds read

    def build(self) -> ColumnOp:
        """The operator."""
        operator = self.spec.build(self.fields)
        assert isinstance(operator, ColumnOp)
        return operator

    @property
    def needs(self) -> set[str]:
        """The nodes whose output this one reads, the dropping ones above it included."""
        columns = set[str]().union(*(c.nodes for c in self.reads.values()))
        return columns | set(self.uses.values()) | {d.name for d in self.alive.drops()} | self.body

    @property
    def drops(self) -> bool:
        return "drop" in self.adds or self.quarantine


@dataclass(frozen=True)
class Wish:
    """What is asked for: an operator under a name, from the config, a recipe or a loop."""

    name: str
    op: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    uses: Mapping[str, str] = field(default_factory=dict)
    join: str = "all"
    quarantine: bool = False
    resources: Resources = field(default_factory=Resources)
    max_drop_share: float | None = None
    guard: Guard | None = None


@dataclass(frozen=True)
class Scope:
    """Where names are looked up: inside which recipe, after which round, below which inputs."""

    inputs: tuple[str, ...]
    recipe: str | None = None
    last: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    outer: str | None = None  # in a loop's round: the recipe that the loop is a part of


def identity_of(op: Operator) -> dict[str, Any]:
    """An operator's fields, files by their content."""
    fields: dict[str, Any] = op.model_dump(mode="json")
    for name, info in type(op).model_fields.items():
        if not any(isinstance(m, UserFile) for m in info.metadata):
            continue
        value = fields[name]
        if isinstance(value, str):
            fields[name] = content_identity(value)
        elif isinstance(value, list):
            fields[name] = [content_identity(path) for path in value]
        elif isinstance(value, dict):
            fields[name] = {key: content_identity(path) for key, path in value.items()}
    return fields


def shape_of(op: ColumnOp) -> str:
    """The name of the operator's shape."""
    return next(shape.__name__ for shape in SHAPES if isinstance(op, shape))


def normal(dtype: pa.DataType) -> pa.DataType:
    """The type under which the reader gives a source column."""
    if pa.types.is_dictionary(dtype):
        return normal(dtype.value_type)
    return pa.large_string() if dtype in (pa.string(), pa.string_view()) else dtype


def fits(have: pa.DataType, want: pa.DataType | Kind) -> bool:
    match want:
        case Kind.ANY:
            return True
        case Kind.LABEL:
            plain = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
            return any(one(have) for one in plain) or have in (pa.string(), pa.large_string())
        case Kind.INTEGER:
            return bool(pa.types.is_integer(have))
        case Kind.NUMBER:
            return bool(pa.types.is_integer(have) or pa.types.is_floating(have))
        case Kind.STRING:
            return have in (pa.string(), pa.large_string())
        case Kind.ORDERED:
            plain = (pa.types.is_integer, pa.types.is_floating, pa.types.is_temporal)
            return any(one(have) for one in plain) or have in (pa.string(), pa.large_string())
        case Kind.VECTOR:
            lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
            return any(one(have) for one in lists) and bool(pa.types.is_floating(have.value_type))
        case Kind.INTEGERS:
            listed = pa.types.is_list(have) or pa.types.is_large_list(have)
            return bool(listed and pa.types.is_integer(have.value_type))
        case _:
            return bool(have == want or (have == pa.string() and want == pa.large_string()))


def common_schema(manifest: Manifest) -> pa.Schema:
    """The columns that every source has, with one type."""
    schemas = list(manifest.schemas.values())
    first = schemas[0] if schemas else pa.schema([])
    return pa.schema(
        [f for f in first if all(f.name in s.names and s.field(f.name).type == f.type for s in schemas)]
    )
