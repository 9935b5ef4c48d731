"""The graph of nodes: recipes expanded, columns bound to whoever adds them, every value given its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.contract import (
    CUTS,
    Checking,
    ColumnOp,
    Kind,
    LoopOp,
    MapOp,
    Operator,
    Part,
    Recipe,
    ScoreOp,
    UserFile,
)
from pipeline.catalog import OpSpec, find
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.manifest import Manifest
from pipeline.nodes import (
    MAIN,
    SIZE,
    Guard,
    Node,
    Scope,
    Wish,
    common_schema,
    fits,
    identity_of,
    normal,
    shape_of,
)
from pipeline.store import key_of
from pipeline.view import Alive, Column, join


class Graph:
    """Builds nodes in the order of the config; a loop's rounds are added while it runs."""

    def __init__(self, config: Config, manifests: Mapping[str, Manifest]) -> None:
        self.config, self.manifests = config, dict(manifests)
        self.base = config.base.resolve()
        self.nodes: dict[str, Node] = {}

    def build(self) -> dict[str, Node]:
        """All nodes that can be known before the run, in an order in which they can run."""
        self._add(Wish(SIZE, "size"), Scope((), where=str(self.config.file)), face=False)
        for node in self.config.ordered():
            wish = Wish(node.name, node.op, node.fields, node.uses, node.join,
                        node.on_error == "quarantine", node.resources, node.max_drop_share)  # fmt: skip
            scope = Scope(self.config.inputs(node.name), where=self.config.where("nodes", node.name))
            before = set(self.nodes)
            self._add(wish, scope, face=True)
            if wish.quarantine and not any(self.nodes[made].quarantine for made in set(self.nodes) - before):
                raise ConfigError(
                    f"{scope.where}: on_error: quarantine is for operators that look at rows one by one; "
                    f"{node.name} ({node.op}) needs all rows to be good: drop the bad ones before"
                )
        return self.nodes

    def _add(self, node: Wish, scope: Scope, face: bool) -> None:
        spec = find(node.op, self.base)
        fields = self.resolve(spec, node.fields, node.name, scope.where)
        operator = spec.build(fields)
        node = replace(node, guard=self._guard(node, operator, scope))
        if isinstance(operator, Recipe):
            self._expand(node, operator, scope)
            return
        assert isinstance(operator, ColumnOp)
        self.bind(node, spec, operator, scope, face=face)

    def _guard(self, node: Wish, operator: Operator, scope: Scope) -> Guard | None:
        share = operator.guard if node.max_drop_share is None else node.max_drop_share
        if share is None or share >= 1:
            return None
        return Guard(share, node.max_drop_share is not None, self._alive(node, scope, MAIN))

    def _expand(self, node: Wish, recipe: Recipe, scope: Scope) -> None:
        """The recipe's parts as nodes `recipe/part`; the last one takes the recipe's own name."""
        parts = recipe.parts()
        below = scope.inputs
        for part in parts:
            last = part is parts[-1]
            name = node.name if last else f"{node.name}/{part.name}"
            made = self._part(part, name, node, replace(scope, inputs=below, recipe=node.name), face=last)
            if part.source is None:
                below = (made.name,)

    def _part(self, part: Part, name: str, node: Wish, scope: Scope, face: bool) -> Node:
        spec = find(part.op, self.base)
        fields = self.resolve(spec, part.fields, name, scope.where)
        operator = spec.build(fields)
        if not isinstance(operator, ColumnOp):
            raise ConfigError(
                f"{scope.where}: {node.op}'s part {part.name} is a recipe; name its parts instead"
            )
        uses = {want: self._part_name(made, scope) for want, made in part.uses.items()}
        guard = node.guard if face else None
        wish = replace(node, name=name, op=part.op, fields=part.fields, uses=uses, guard=guard)
        data = MAIN if part.source is None else str(Path(self.base, part.source))
        if data != MAIN:
            scope = replace(scope, inputs=())
        return self.bind(wish, spec, operator, scope, face=face, data=data)

    def _part_name(self, part: str, scope: Scope) -> str:
        if part.startswith("last."):
            return scope.last[part.removeprefix("last.")]
        inner = (f"{scope.recipe}/{part}", f"{scope.outer}/{part}")
        return next((name for name in inner if name in self.nodes), part)

    def round(
        self, loop: Wish, scope: Scope, parts: Sequence[Part], number: int, last: Mapping[str, str]
    ) -> list[Node]:
        """The nodes of one round of a loop; `last` gives the nodes of the round before."""
        made: list[Node] = []
        for part in parts:
            inner = Scope(scope.inputs, f"{loop.name}@{number}", last, scope.where, outer=scope.recipe)
            made.append(self._part(part, f"{loop.name}@{number}/{part.name}", loop, inner, face=False))
        return made

    def resolve(self, spec: OpSpec, fields: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
        """The fields with paths made absolute and the seed filled in."""
        model = spec.cls()
        resolved = dict(fields)
        for key, info in model.model_fields.items():
            mark = next((m for m in info.metadata if isinstance(m, UserFile)), None)
            value = resolved.get(key, info.default)
            if mark is not None and isinstance(value, str):
                resolved[key] = self._path(value, mark, f"{where}: {name}.{key}")
            elif mark is not None and isinstance(value, list | tuple):
                resolved[key] = [self._path(path, mark, f"{where}: {name}.{key}") for path in value]
            elif mark is not None and isinstance(value, dict):
                resolved[key] = {
                    k: self._path(path, mark, f"{where}: {name}.{key}.{k}") for k, path in value.items()
                }
            if key == "seed" and value is None:
                resolved[key] = int(key_of(self.config.seed, name)[:15], 16)
        return resolved

    def _path(self, value: str, mark: UserFile, where: str) -> str:
        if "://" in value:
            return value
        path = Path(self.base, Path(value).expanduser())
        is_glob = any(c in value for c in "*?[")
        if path.exists() or (is_glob and any(self.base.glob(value))):
            return str(path)
        looks_like_hub = mark.hub and not value.startswith((".", "/", "~")) and value.count("/") <= 1
        if looks_like_hub:
            return value
        hint = "; a hub model is named like 'org/model'" if mark.hub else ""
        raise ConfigError(f"{where}: no such {mark.what}: {path}{hint}")

    def bind(
        self, node: Wish, spec: OpSpec, op: ColumnOp, scope: Scope, face: bool, data: str = MAIN
    ) -> Node:
        """A node with its columns found, its rows known and its key made."""
        if isinstance(op, Checking):
            try:
                op.check()
            except (ValueError, OSError, ImportError) as error:
                raise ConfigError(f"{scope.where}: {node.name} ({node.op}): {error}") from error
        alive = self._alive(node, scope, data)
        reads = {
            name: self._column(name, kind, node.name, scope, data)
            for name, kind in op.reads.items()
            if scope.last or not name.startswith("last.")
        }
        uses = {want: self._artifact(made, node.name, scope) for want, made in node.uses.items()}
        artifacts = {want: self.nodes[made].key for want, made in uses.items()}
        body = self._body(node, op, scope) if isinstance(op, LoopOp) else []
        positional = any(c.positional for c in reads.values()) or any(b.positional for b in body)
        quarantine = node.quarantine and isinstance(op, MapOp | ScoreOp)
        adds = dict(op.adds)
        if node.guard is not None and node.guard.asked and "drop" not in adds and not quarantine:
            raise ConfigError(
                f"{scope.where}: {node.name} ({node.op}) drops nothing: no max_drop_share for it"
            )
        key = self._key(spec, op, reads, artifacts, alive, data, quarantine)
        key = key_of(key, [b.key for b in body]) if body else key
        after = alive
        if "drop" in adds or quarantine:
            after = Alive("drop", node.name, key, positional, (alive,))
        needed = set[str]().union(*(b.needs for b in body)) - {b.name for b in body}
        made = Node(node.name, node.op, spec, op.model_dump(mode="json"), shape_of(op), scope.inputs, uses,
                    artifacts, reads, adds, key, alive, after, positional, scope.recipe, face, data,
                    node.resources, quarantine, node.guard, frozenset(needed))  # fmt: skip
        self.nodes[node.name] = made
        return made

    def _body(self, node: Wish, loop: LoopOp, scope: Scope) -> list[Node]:
        """The first two rounds, bound to find what they read and forgotten again: what a loop's
        result depends on is what its rounds depend on."""
        first = self.round(node, scope, loop.step(0), 0, {})
        names = {b.name.rpartition("/")[2]: b.name for b in first}
        body = first + self.round(node, scope, loop.step(1), 1, names)
        for b in body:
            del self.nodes[b.name]
        return body

    def _alive(self, node: Wish, scope: Scope, data: str) -> Alive:
        inputs, sources = scope.inputs, set(self.config.sources)
        if data != MAIN or not inputs:
            return Alive("source", "*")
        roots = [self.nodes[name].after if name in self.nodes else Alive("source", name) for name in inputs]
        if set(inputs) <= sources:  # a row has one source: several of them can only mean their union
            return join(roots, "any")
        alive = join(roots, node.join)
        if not alive.sources(frozenset(sources)):
            raise ConfigError(
                f"{scope.where}: {node.name}: no row comes through all of {', '.join(inputs)}: they start at "
                "different sources; to take the rows of each add `join: any`"
            )
        return alive

    def _artifact(self, made: str, user: str, scope: Scope) -> str:
        if made in self.nodes and self.nodes[made].shape in ("FoldOp", "FitOp"):
            return made
        if made in self.nodes:
            raise ConfigError(f"{scope.where}: {user} uses {made!r}, which makes columns, no artifact")
        raise ConfigError(f"{scope.where}: {user} uses {made!r}, but no such node is above it")

    def _column(self, name: str, kind: pa.DataType | Kind, user: str, scope: Scope, data: str) -> Column:
        column = self._find(name, user, scope, data)
        if column.dtype is not None and not fits(column.dtype, kind):
            wanted = kind.value if isinstance(kind, Kind) else kind
            raise ConfigError(
                f"{scope.where}: {user} reads {name!r} as {wanted}, but {column.node or 'the source'} "
                f"gives {column.dtype}"
            )
        return column

    def _find(self, name: str, user: str, scope: Scope, data: str) -> Column:
        manifest = self.manifests[data]
        if name == "uid":
            return Column("uid", "uid", positional=True, dtype=pa.int64())
        if name == "key":
            by_id = "id" if self.config_id() else ""
            return Column("key", by_id, positional=not by_id, dtype=pa.uint64())
        if data != MAIN:
            return self._side_column(name, user, scope, data)
        if name.startswith("/"):
            return self._inner(name[1:], user, scope)
        if name.startswith("last."):
            part, _, column = name.removeprefix("last.").rpartition(".")
            return self._of(scope.last[part], column, user, scope)
        node, dot, column = name.rpartition(".")
        if dot and node in self.nodes:
            if node != SIZE and node not in self.upstream(scope.inputs):
                raise ConfigError(
                    f"{scope.where}: {user} reads {name!r}, but {node} is not above it; add {node} to input"
                )
            return self._of(node, column, user, scope)
        return self._nearest(name, user, scope) or self._source_column(name, user, scope, manifest)

    def config_id(self) -> bool:
        return all(source.id for source in self.config.sources.values())

    def _inner(self, name: str, user: str, scope: Scope) -> Column:
        part, _, column = name.rpartition(".")
        for candidate in (f"{scope.recipe}/{part}", f"{scope.outer}/{part}"):
            if candidate in self.nodes:
                return self._of(candidate, column, user, scope)
        raise ConfigError(
            f"{scope.where}: {user} reads '/{name}', but its recipe has no earlier part {part!r}"
        )

    def _of(self, node: str, column: str, user: str, scope: Scope) -> Column:
        made = self.nodes[node]
        if column not in made.adds:
            have = ", ".join(made.adds) or "no columns"
            raise ConfigError(f"{scope.where}: {user} reads {node}.{column}, but {node} adds {have}")
        return self.column_of(node, column)

    def column_of(self, node: str, column: str) -> Column:
        """A node's column, for whoever reads it."""
        made = self.nodes[node]
        return Column("node", column, node, made.key, made.positional, made.adds[column])

    def _nearest(self, name: str, user: str, scope: Scope) -> Column | None:
        """The column of the nearest node above that adds it."""
        level, seen = [n for n in scope.inputs if n in self.nodes], set[str]()
        while level:
            found = [n for n in level if self.nodes[n].face and name in self.nodes[n].adds]
            if len(found) > 1:
                choices = " or ".join(f"{n}.{name}" for n in found)
                raise ConfigError(f"{scope.where}: {user} reads {name!r}, which could be {choices}; name one")
            if found:
                return self._of(found[0], name, user, scope)
            seen.update(level)
            above = (i for n in level for i in self.nodes[n].inputs)
            level = [n for n in dict.fromkeys(above) if n in self.nodes and n not in seen]
        return None

    def nearest_column(self, name: str, node: str) -> Column | None:
        """The column of that name which the node or the nearest one above it adds, if it is just one."""
        try:
            return self._nearest(name, node, Scope((node,)))
        except ConfigError:
            return None

    def order_above(self, node: str) -> Column | None:
        """The nearest order that a curriculum gave the rows of a node, None where there is none."""
        order = self.nearest_column("order", node)
        return order if order is not None and order.dtype == pa.uint64() else None

    def column_above(self, name: str, node: str) -> Column:
        """The column that `name` means after a node; ConfigError when it means none or two."""
        return self._find(name, node, Scope((node,), where=str(self.config.file)), MAIN)

    def add(self, wish: Wish, inputs: tuple[str, ...]) -> Node:
        """A node of our own after some of the config's."""
        self._add(wish, Scope(inputs, where=str(self.config.file)), face=False)
        return self.nodes[wish.name]

    def add_order_bins(self, node: str) -> Node:
        """What an export in order needs to know: how the bytes lie along the nearest order above a node."""
        order = self.column_above("order", node)
        fields = {"order": f"{order.node}.order", "bytes": f"{SIZE}.bytes"}
        self.add(Wish(f"{node}/order_bins", "order_bins", fields), (node,))
        return self.nodes.pop(f"{node}/order_bins")

    def _side_column(self, name: str, user: str, scope: Scope, data: str) -> Column:
        """A column of a file that a part reads in place of the source; its text also has its own name."""
        manifest = self.manifests[data]
        schema = common_schema(manifest)
        seen = "text" if name == manifest.settings[MAIN].text else name
        if seen in schema.names:
            return Column("source", seen, dtype=normal(schema.field(seen).type))
        raise ConfigError(
            f"{scope.where}: {user} reads {name!r} of {data}, which has only {', '.join(schema.names)}"
        )

    def _source_column(self, name: str, user: str, scope: Scope, manifest: Manifest) -> Column:
        schema = common_schema(manifest)
        if name in schema.names:
            edits = self.edits(scope.inputs, scope.where) if name == "text" else ()
            positional = any(edit.positional for edit in edits)
            dtype = normal(schema.field(name).type)
            return Column("source", name, positional=positional, dtype=dtype, edits=edits)
        if manifest is self.manifests[MAIN] and SIZE in self.nodes and name in self.nodes[SIZE].adds:
            return self._of(SIZE, name, user, scope)
        raise ConfigError(
            f"{scope.where}: {user} reads {name!r}; neither the source (it has {', '.join(schema.names)}) "
            f"nor a node above it has that column"
        )

    def edits(self, inputs: Sequence[str], where: str = "") -> tuple[Column, ...]:
        """The `cuts` that the nodes above made in the text, in the order in which they apply."""
        above = self.upstream(inputs)
        editors = [n for n in self.nodes if n in above and self.nodes[n].adds.get("cuts") == CUTS]
        for first, second in pairwise(editors):
            if first not in self.upstream(self.nodes[second].inputs):
                raise ConfigError(
                    f"{where or self.config.file}: {first} and {second} both edit the text on branches of "
                    f"their own, so their cuts do not fit together; put one below the other"
                )
        return tuple(self.column_of(n, "cuts") for n in editors)

    def upstream(self, inputs: Sequence[str]) -> set[str]:
        """All nodes above, the inputs themselves included."""
        found: set[str] = set()
        stack = [n for n in inputs if n in self.nodes]
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                stack += [n for n in self.nodes[name].inputs if n in self.nodes]
        return found

    def _key(
        self, spec: OpSpec, op: ColumnOp, reads: Mapping[str, Column], artifacts: Mapping[str, str],
        alive: Alive, data: str, quarantine: bool,
    ) -> str:  # fmt: skip
        """What the values depend on. Rows that a Map or a Score computes depend on nobody else, so
        who is alive is no part of their key: rows that come alive later join the same columns."""
        columns = {name: column.identity() for name, column in reads.items()}
        parts = [spec.identity, op.version, identity_of(op), columns, dict(artifacts), quarantine]
        if not isinstance(op, MapOp | ScoreOp):
            parts += [alive.identity(), self.manifests[data].identity()]
        return key_of(*parts)
