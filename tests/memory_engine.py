"""The slow reference of the engines: runs any operator over one table in memory, by brute force."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from operators import contract as c
from operators.kernels.counter import mix64

Batches = list[pa.RecordBatch]


def run(
    op: c.Operator,
    table: pa.Table,
    batch_rows: int = 1000,
    cut: Sequence[int] | None = None,
    uses: c.Uses | None = None,
) -> pa.Table:
    """The columns that `op` adds to `table`, a row each; rows that an earlier part dropped have nulls.

    batch_rows: rows a batch. cut: instead of it, the ascending row numbers at which batches begin.
    The table may bring columns `uid` and `key`; else they are the position and its hash.
    """
    world = World(table, batch_rows, cut)
    world.artifacts.update(uses or {})
    world.execute("face", op, {name: name for name in uses or {}})
    return pa.table({name: world.columns[f"/face.{name}"] for name in op_adds(op, world, "face")})


def find(name: str) -> type[c.Operator]:
    """The operator of that name, from the floor that has its file."""
    for floor in ("operators", "gpu_ops"):
        if importlib.util.find_spec(f"{floor}.{name}"):
            module = importlib.import_module(f"{floor}.{name}")
            return getattr(module, "".join(word.capitalize() for word in name.split("_")))
    raise LookupError(f"no operator {name!r}")


def op_adds(op: c.Operator, world: World, name: str) -> list[str]:
    """What the node added; a recipe adds what its last part adds."""
    return list(op.adds) if isinstance(op, c.ColumnOp) else world.faces[name]


class World:
    """The columns of all rows, who is alive, and the artifacts, for one scope and those around it."""

    def __init__(self, table: pa.Table, batch_rows: int, cut: Sequence[int] | None) -> None:
        n = table.num_rows
        self.columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        self.columns.setdefault("uid", pa.array(np.arange(n, dtype=np.int64)))
        uid = np.asarray(self.columns["uid"]).astype(np.uint64)
        self.columns.setdefault("key", pa.array(mix64(uid)))
        self.alive = np.arange(n)
        starts = list(cut) if cut is not None else list(range(0, n, batch_rows))
        self.bounds = np.array([0, *starts, n])
        self.batch_rows = batch_rows
        self.artifacts: dict[str, c.Artifact] = {}
        self.faces: dict[str, list[str]] = {}

    def batches(self, op: c.ColumnOp) -> Batches:
        """The alive rows' columns that `op` reads, cut as asked (some batches may be empty)."""
        return [self.pick(op.reads, rows) for rows in self.slices()]

    def slices(self) -> list[np.ndarray]:
        """The alive row numbers of every batch."""
        cuts = np.searchsorted(self.alive, np.unique(self.bounds))
        return [self.alive[a:b] for a, b in pairwise(cuts)] or [self.alive]

    def pick(self, names: Any, rows: np.ndarray) -> pa.RecordBatch:
        arrays = {name: self.columns[name].take(pa.array(rows)) for name in names}
        text = {name: a.cast(c.TEXT) if pa.types.is_string(a.type) else a for name, a in arrays.items()}
        if not text:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        return pa.RecordBatch.from_pydict(text)

    def execute(self, name: str, op: c.Operator, wanted: Mapping[str, str]) -> None:
        """Runs a node and keeps its columns as `/name.column` and its artifact as `name`."""
        if isinstance(op, c.Recipe):
            self.recipe(name, op)
            return
        assert isinstance(op, c.ColumnOp)
        uses = {inner: self.artifacts[part] for inner, part in wanted.items()}
        outs = (
            self.loop(op) if isinstance(op, c.LoopOp) else run_shape(self, name, op, self.batches(op), uses)
        )
        if op.adds:
            check(op, self.slices(), outs)
            self.add(name, op, outs)

    def add(self, name: str, op: c.ColumnOp, outs: list[c.Columns]) -> None:
        back = np.full(len(self.columns["uid"]), -1)
        back[self.alive] = np.arange(len(self.alive))
        places = pa.array(back, mask=back < 0)
        for column, kind in op.adds.items():
            chunks = pa.chunked_array([out[column] for out in outs], kind)
            self.columns[f"/{name}.{column}"] = merge_chunks(chunks).take(places)
        if op.adds.get("cuts") == c.CUTS:
            self.columns["text"] = edited(self.columns["text"], self.columns[f"/{name}.cuts"])
        if "drop" in op.adds:
            gone = self.columns[f"/{name}.drop"].take(pa.array(self.alive)).is_valid()
            self.alive = self.alive[~np.asarray(gone)]

    def recipe(self, name: str, op: c.Recipe) -> None:
        outer = dict(self.artifacts)
        for part in op.parts():
            assert part.source is None, "the memory engine does not read files"
            self.execute(part.name, find(part.op)(**part.fields), part.uses)
        last = find(part.op)(**part.fields)
        self.faces[name] = list(last.adds)
        for column in last.adds:
            self.columns[f"/{name}.{column}"] = self.columns[f"/{part.name}.{column}"]
        self.artifacts = {
            **outer,
            **({name: self.artifacts[part.name]} if part.name in self.artifacts else {}),
        }

    def loop(self, op: c.LoopOp) -> list[c.Columns]:
        """Rounds until done; a body's parts see the columns of the scopes around the loop too."""
        for number in range(10_000):
            parts = op.step(number)
            for part in parts:
                self.execute(part.name, find(part.op)(**part.fields), part.uses)
            final = self.artifacts[parts[-1].name]
            for part in parts:
                mine = [key for key in self.columns if key.startswith(f"/{part.name}.")]
                self.columns.update({"last." + key[1:]: self.columns[key] for key in mine})
                if part.name in self.artifacts:
                    self.artifacts["last." + part.name] = self.artifacts[part.name]
            if op.done(final, number):
                return [op.columns(batch, {"last": final}) for batch in self.batches(op)]
        raise RuntimeError(f"{type(op).__name__} is not done after 10,000 rounds")


def edited(texts: pa.Array, cuts: pa.Array) -> pa.Array:
    """The texts after their cuts, by slicing bytes."""
    out = []
    for text, row in zip(texts.cast(pa.large_binary()).to_pylist(), cuts.to_pylist(), strict=True):
        for cut in reversed(row or []):
            text = text[: cut["start"]] + (cut["text"] or "").encode() + text[cut["end"] :]
        out.append(text)
    return pa.array(out, pa.large_binary()).view(pa.large_string())


def run_shape(world: World, name: str, op: c.ColumnOp, batches: Batches, uses: c.Uses) -> list[c.Columns]:
    """The added columns, one set a batch."""
    match op:
        case c.MapOp():
            return [mapped(op, batch, uses) for batch in batches]
        case c.ScoreOp():
            model = op.load("cpu")
            return [op.columns(op.prepare(batch, model), model) for batch in batches]
        case c.FoldOp():
            state = op.fold(batches[0].slice(0, 0), uses)
            for batch in batches:
                state = op.merge(state, op.fold(batch, uses))
            world.artifacts[name] = op.finish(state, uses)
            return [op.columns(batch, world.artifacts[name]) for batch in batches] if op.adds else []
        case c.FitOp():
            world.artifacts[name] = op.fit(iter(batches), "cpu", uses)
            parts = [batch.select(list(op.columns_read)) for batch in batches] if op.adds else []
            return [op.columns(batch, world.artifacts[name]) for batch in parts]
        case c.ShuffleOp() | c.ReduceOp():
            return exchange(world, op, batches, uses)
    raise TypeError(f"{type(op).__name__} has no shape")


def mapped(op: c.MapOp, batch: pa.RecordBatch, uses: c.Uses) -> c.Columns:
    """The added columns; nulls for rows that the operator does not want."""
    if not op.where:
        return op.columns(batch, uses)
    wanted = np.array([value is True for value in batch.column(op.where).to_pylist()], bool)
    out = op.columns(batch.filter(pa.array(wanted)), uses)
    places = pa.array(np.cumsum(wanted) - 1, mask=~wanted)
    return {name: array.take(places) for name, array in out.items()}


def emitted(op: c.ShuffleOp | c.ReduceOp, batch: pa.RecordBatch, uses: c.Uses) -> c.Emission:
    """The messages of the rows that the operator wants."""
    if not op.where:
        return op.emit(batch, uses)
    wanted = np.array([value is True for value in batch.column(op.where).to_pylist()], bool)
    sent = op.emit(batch.filter(pa.array(wanted)), uses)
    return c.Emission(np.flatnonzero(wanted)[np.asarray(sent.row, int)], sent.key, sent.payload, sent.key2)


def exchange(world: World, op: c.ShuffleOp | c.ReduceOp, batches: Batches, uses: c.Uses) -> list[c.Columns]:
    """Messages out, replies back in the order of emission."""
    sent = [emitted(op, batch, uses) for batch in batches]
    uids = [world.columns["uid"].take(pa.array(rows)) for rows in world.slices()]
    boxes = [envelope(op, e, uid) for e, uid in zip(sent, uids, strict=True)]
    messages = merge_batches(boxes)
    answers = streamed(op, messages, world.batch_rows) if isinstance(op, c.ShuffleOp) else reduced(op, boxes)
    assert answers.num_rows == messages.num_rows, f"{type(op).__name__} owes replies"
    outs, done = [], 0
    for emission, uid in zip(sent, uids, strict=True):
        mine = answers.slice(done, len(emission.row))
        done += len(emission.row)
        replies = mine.add_column(0, "row", pa.array(emission.row, pa.int64()))
        outs.append(op.columns(pa.RecordBatch.from_pydict({"uid": uid}), replies))
    return outs


def envelope(op: c.ShuffleOp | c.ReduceOp, emission: c.Emission, uid: pa.Array) -> pa.RecordBatch:
    """key, key2, uid and the payload, a row a message."""
    row = np.asarray(emission.row, dtype=np.int64)
    assert (np.diff(row) >= 0).all(), f"{type(op).__name__}.emit: rows must ascend"
    assert set(emission.payload) == set(op.emits), f"{type(op).__name__}.emit: payload is not `emits`"
    key2 = np.zeros(len(row), np.uint64) if emission.key2 is None else emission.key2
    head = {"key": pa.array(emission.key, pa.uint64()), "key2": pa.array(key2, pa.uint64())}
    body = {name: emission.payload[name] for name in op.emits}
    for name, kind in op.emits.items():
        assert body[name].type == kind, f"{type(op).__name__}.emit: {name} is {body[name].type}, not {kind}"
    return pa.RecordBatch.from_pydict(head | {"uid": uid.take(pa.array(row))} | body)


def streamed(op: c.ShuffleOp, messages: pa.RecordBatch, batch_rows: int) -> pa.RecordBatch:
    """The replies of a shuffle, aligned with the messages as they were sent."""
    by = [np.asarray(messages.column(name)) for name in ("uid", *reversed(op.order), "key2", "key")]
    order = np.lexsort(by)
    ordered = messages.take(pa.array(order))

    def chunks() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(order), batch_rows):
            yield ordered.slice(start, batch_rows)

    replies = [as_batch(op.replies, out) for out in op.reply(chunks())] or [empty(op.replies)]
    return merge_batches(replies).take(pa.array(np.argsort(order, kind="stable")))


def reduced(op: c.ReduceOp, boxes: Batches) -> pa.RecordBatch:
    """The summary of its key for every message: first within each batch, then over all of them."""
    partial = merge_batches([summary(op, box.drop_columns(["uid"])) for box in boxes])
    final = summary(op, partial)
    messages = merge_batches(boxes)
    table = {pair: i for i, pair in enumerate(zip(*keys(final), strict=True))}
    places = [table[pair] for pair in zip(*keys(messages), strict=True)]
    return final.take(pa.array(places, pa.int64())).select(list(op.emits))


def summary(op: c.ReduceOp, messages: pa.RecordBatch) -> pa.RecordBatch:
    if messages.num_rows == 0:
        return messages
    key, key2 = (np.asarray(messages.column(name)) for name in ("key", "key2"))
    order = np.lexsort([key2, key])
    key, key2 = key[order], key2[order]
    starts = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]) | (key2[1:] != key2[:-1])])
    out = as_batch(op.emits, op.combine(messages.take(pa.array(order)), starts))
    heads = {"key": pa.array(key[starts]), "key2": pa.array(key2[starts])}
    return pa.RecordBatch.from_pydict(heads | dict(zip(op.emits, out.columns, strict=True)))


def keys(batch: pa.RecordBatch) -> tuple[list[int], list[int]]:
    return batch.column("key").to_pylist(), batch.column("key2").to_pylist()


def as_batch(kinds: c.Adds, out: c.Columns) -> pa.RecordBatch:
    assert set(out) == set(kinds), f"got columns {sorted(out)}, not {sorted(kinds)}"
    return pa.RecordBatch.from_arrays([out[name] for name in kinds], schema=pa.schema(list(kinds.items())))


def empty(kinds: c.Adds) -> pa.RecordBatch:
    return as_batch(kinds, {name: pa.array([], kind) for name, kind in kinds.items()})


def merge_batches(batches: Batches) -> pa.RecordBatch:
    schema = batches[0].schema
    columns = [merge_chunks(pa.chunked_array([b.column(i) for b in batches])) for i in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def merge_chunks(chunks: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(chunks.type):
        chunks = chunks.unify_dictionaries()
    return pa.concat_arrays(chunks.chunks) if chunks.num_chunks else pa.array([], chunks.type)


def check(op: c.ColumnOp, slices: list[np.ndarray], outs: list[c.Columns]) -> None:
    """Law 5: exactly the columns and types that `adds` says, a value a row."""
    for rows, out in zip(slices, outs, strict=True):
        assert as_batch(op.adds, out).num_rows == len(rows), f"{type(op).__name__} lost rows"
