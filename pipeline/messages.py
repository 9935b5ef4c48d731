"""The messages of a shuffle on disk: sorted by key, indexed by key range, merged as streams."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import Emission, ReduceOp, ShuffleOp
from operators.kernels.counter import mix64
from pipeline.store import Store

RANGES = 4096  # the finest partition: reducers take whole ranges
CHUNK_ROWS = 65_536
LEAST_ROWS = 256  # of each run that a merge holds, however many there are

Ints = npt.NDArray[np.int64]


class Outbox:
    """Collects the messages of one shard and writes them sorted, as one file with an index."""

    def __init__(self, operator: ShuffleOp | ReduceOp) -> None:
        self.operator = operator
        self.rows: list[npt.NDArray[np.uint32]] = []
        self.parts: list[pa.RecordBatch] = []

    def add(self, rows: npt.NDArray[np.uint32], base: int, sent: Emission) -> None:
        """Take a batch's messages; ValueError when the operator breaks the contract."""
        emits = self.operator.emits
        count = len(sent.key)
        key2 = np.zeros(count, np.uint64) if sent.key2 is None else sent.key2
        row = np.asarray(sent.row, np.int64)
        if len(row) != count or len(key2) != count or (count and (np.diff(row) < 0).any()):
            raise ValueError("emit: row, key and key2 must be equally long, row ascending")
        if set(sent.payload) != set(emits):
            raise ValueError(f"emit gave the payload {sorted(sent.payload)}, emits says {sorted(emits)}")
        shard_rows = rows[row]
        columns: dict[str, pa.Array] = {
            "key": pa.array(np.asarray(sent.key, np.uint64)),
            "key2": pa.array(np.asarray(key2, np.uint64)),
            "uid": pa.array(shard_rows.astype(np.int64) + base),
        }
        for name, dtype in emits.items():
            columns[name] = _typed(sent.payload[name], dtype, name, count)
        self.rows.append(shard_rows)
        self.parts.append(pa.RecordBatch.from_pydict(columns))

    def seal(self, store: Store, name: str, folder: str) -> dict[str, Any]:
        """Commit the messages: `name` is the record. Rows of the home file say which row waits for
        which message's reply."""
        schema = message_schema(self.operator)
        whole = pa.Table.from_batches(self.parts, schema).combine_chunks()
        batch = whole.to_batches()[0] if whole.num_rows else empty(schema)
        rows = np.concatenate(self.rows) if self.rows else np.empty(0, np.uint32)
        order = sort_order(batch, self.operator)
        batch = batch.take(pa.array(order))
        if isinstance(self.operator, ReduceOp):
            batch, run = combine(self.operator, batch)
            slot = np.empty(len(order), np.int64)
            slot[order] = run
            batch = batch.append_column("slot", pa.array(np.arange(batch.num_rows)))
        else:
            slot = np.arange(len(order))
            batch = batch.append_column("slot", pa.array(order))
        home = pa.record_batch({"row": pa.array(rows, pa.uint32()), "slot": pa.array(slot, pa.int64())})
        mixed = mix64(_u64(batch, "key"))
        index = np.searchsorted(mixed >> np.uint64(52), np.arange(RANGES + 1, dtype=np.uint64))
        stored = _with_index(batch.schema, index)
        chunks = (batch.slice(i, CHUNK_ROWS) for i in range(0, batch.num_rows, CHUNK_ROWS))
        record = store.put_batches(folder, stored, chunks)
        record["messages"] = record.pop("file")
        record["home"] = store.put_batches(folder, home.schema, iter([home]))["file"]
        record["payload_bytes"] = batch.nbytes
        store.commit_record(name, record)
        return record


def message_schema(operator: ShuffleOp | ReduceOp) -> pa.Schema:
    """key, key2, uid, then the payload."""
    fields = [("key", pa.uint64()), ("key2", pa.uint64()), ("uid", pa.int64()), *operator.emits.items()]
    return pa.schema(fields)


def empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def _typed(values: Any, dtype: pa.DataType, name: str, count: int) -> pa.Array:
    array = values if isinstance(values, pa.Array) else pa.array(values, dtype)
    if array.type != dtype or len(array) != count:
        raise ValueError(f"emit: {name} is {array.type} x {len(array)}, expected {dtype} x {count}")
    return array


def _u64(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.uint64]:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), dtype=np.uint64)


def sort_order(batch: pa.RecordBatch, operator: ShuffleOp | ReduceOp) -> Ints:
    """Stable order by mixed key, key2, the operator's order columns, uid (and slot, where there is one)."""
    keys = [mix64(_u64(batch, "key"))]
    if _u64(batch, "key2").any():
        keys.append(_u64(batch, "key2"))
    if isinstance(operator, ShuffleOp):
        keys += [batch.column(name).to_numpy(zero_copy_only=False) for name in operator.order]
    keys.append(batch.column("uid").to_numpy(zero_copy_only=False))
    if len(keys) == 2 and (np.diff(keys[1]) >= 0).all():
        return np.asarray(np.argsort(keys[0], kind="stable"))
    return np.asarray(np.lexsort(keys[::-1]))


def runs(batch: pa.RecordBatch) -> Ints:
    """Where each run of equal keys begins, and the end: (runs + 1,)."""
    key, key2 = _u64(batch, "key"), _u64(batch, "key2")
    if not len(key):
        return np.zeros(1, np.int64)
    new = np.flatnonzero((key[1:] != key[:-1]) | (key2[1:] != key2[:-1])) + 1
    return np.concatenate([[0], new, [len(key)]]).astype(np.int64)


def combine(operator: ReduceOp, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Ints]:
    """One message for every run of equal keys, and the run of every message."""
    starts = runs(batch)
    run = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    payload = operator.combine(batch, starts[:-1])
    columns = {name: batch.column(name).take(pa.array(starts[:-1])) for name in ("key", "key2", "uid")}
    for name, dtype in operator.emits.items():
        columns[name] = _typed(payload[name], dtype, name, len(starts) - 1)
    return pa.RecordBatch.from_pydict(columns), run


def _with_index(schema: pa.Schema, index: Ints) -> pa.Schema:
    return schema.with_metadata({"index": json.dumps(index.tolist())})


@dataclass
class Run:
    """A sorted range of one message file, read a chunk at a time."""

    reader: pa.ipc.RecordBatchFileReader
    home: int  # which map task wrote it
    at: int
    stop: int

    def take(self, rows: int) -> pa.RecordBatch:
        """The next rows, tagged with their home; none at the end."""
        parts = []
        stop = min(self.at + rows, self.stop)
        while self.at < stop:
            chunk, offset = divmod(self.at, CHUNK_ROWS)
            size = min(CHUNK_ROWS - offset, stop - self.at)
            parts.append(self.reader.get_batch(chunk).slice(offset, size))
            self.at += size
        batch = pa.concat_batches(parts)
        return batch.append_column("home", pa.array(np.full(len(batch), self.home, np.int32)))

    @property
    def ended(self) -> bool:
        return self.at >= self.stop


def open_runs(store: Store, names: Sequence[str], low: int, high: int) -> list[Run]:
    """The ranges [low, high) of every map task's messages."""
    found = []
    for home, name in enumerate(names):
        reader = store.open_arrow(name, ranges=True)
        index = json.loads(reader.schema.metadata[b"index"])
        if index[low] < index[high]:
            found.append(Run(reader, home, index[low], index[high]))
    return found


def merge(found: list[Run], operator: ShuffleOp | ReduceOp, budget_rows: int) -> Iterator[pa.RecordBatch]:
    """All messages of the runs as one sorted stream in bounded memory: hold a chunk of each run,
    give out what no unread message can precede, refill the runs whose chunk is used up."""
    share = max(LEAST_ROWS, budget_rows // max(1, len(found)))
    held: dict[int, pa.RecordBatch] = {}
    while True:
        held |= {i: run.take(share) for i, run in enumerate(found) if i not in held and not run.ended}
        if not held:
            return
        ends = np.cumsum([part.num_rows for part in held.values()])
        table = pa.concat_batches(list(held.values()))
        order = sort_order(table, operator)
        # A run's unread messages come after the last one that is held of it.
        open_ends = [end - 1 for end, i in zip(ends, held, strict=True) if not found[i].ended]
        ready = int(np.isin(order, open_ends).argmax()) + 1 if open_ends else len(order)
        yield from _slices(table.take(pa.array(order[:ready])))
        used = np.diff(np.searchsorted(np.sort(order[:ready]), np.concatenate([[0], ends])))
        left = ((i, part.slice(n)) for (i, part), n in zip(held.items(), used, strict=True))
        held = {i: part for i, part in left if part.num_rows}


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, CHUNK_ROWS):
        yield batch.slice(start, CHUNK_ROWS)
