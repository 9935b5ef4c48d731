"""The messages of a shuffle on disk: sorted by key, indexed by key range, merged as streams."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import Emission, ReduceOp, ShuffleOp
from operators.kernels.radix import mixed, sort_order
from operators.kernels.room import within
from operators.kernels.taking import take
from pipeline.store import Store

RANGES = 4096  # the finest partition: reducers take whole ranges
CHUNK_ROWS = 65_536
RUN_MESSAGES, RUN_BYTES = 1 << 20, 16 << 20  # of a shard that a task holds before it writes them
LEAST_ROWS, FEWEST_ROWS = 256, 16  # of each run that a merge holds; the fewer where runs are many

Ints = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


class Outbox:
    """Collects the messages of one shard and writes them as sorted runs, each a file with an index and one
    that says where the replies go."""

    def __init__(
        self, operator: ShuffleOp | ReduceOp, store: Store | None = None, folder: str = "", sharing: int = 1
    ) -> None:
        """sharing: how many work side by side in the task's memory."""
        self.operator, self.store, self.folder = operator, store, folder
        self.sharing = sharing
        self.base = 0
        self.record: dict[str, Any] = {"messages": [], "homes": [], "rows": 0, "bytes": 0, "payload_bytes": 0}
        self._start()

    def _start(self) -> None:
        """Of the run under way: the rows that send, how many messages each; the messages' keys, senders and
        payload."""
        self.many = self.held_bytes = 0
        self.rows: list[npt.NDArray[np.uint32]] = []
        self.lengths: list[Ints] = []
        self._empty()

    def _empty(self) -> None:
        self.keys: list[UInt64s] = []
        self.keys2: list[UInt64s | None] = []
        self.senders: list[npt.NDArray[np.uint32]] = []
        self.payload: dict[str, list[pa.Array]] = {name: [] for name in self.operator.emits}

    def add(self, rows: npt.NDArray[np.uint32], base: int, sent: Emission) -> None:
        """Take a batch's messages; ValueError when the operator breaks the contract."""
        emits = self.operator.emits
        count = len(sent.key)
        row = np.asarray(sent.row, np.int64)
        key2 = None if sent.key2 is None else np.asarray(sent.key2, np.uint64)
        if len(row) != count or (key2 is not None and len(key2) != count) or (row[1:] < row[:-1]).any():
            raise ValueError("emit: row, key and key2 must be equally long, row ascending")
        if set(sent.payload) != set(emits):
            raise ValueError(f"emit gave the payload {sorted(sent.payload)}, emits says {sorted(emits)}")
        for name, dtype in emits.items():
            self.payload[name].append(_typed(sent.payload[name], dtype, name, count))
            self.held_bytes += self.payload[name][-1].nbytes
        self.base = base
        lengths = np.bincount(row, minlength=len(rows))
        self.rows.append(rows[lengths > 0])
        self.lengths.append(lengths[lengths > 0])
        self.keys.append(np.asarray(sent.key, np.uint64))
        self.keys2.append(key2)
        if isinstance(self.operator, ShuffleOp):
            self.senders.append(rows[row])
        self.many += count
        many, size = within(RUN_MESSAGES, 1024 * self.sharing), within(RUN_BYTES, 64 * self.sharing)
        if self.store is not None and (self.many >= many or self.held_bytes >= size):
            self._end_run(self.store)

    def sorted(self) -> tuple[pa.RecordBatch, npt.NDArray[np.uint32]]:
        """The run's messages, sorted: key, key2 (where one is not 0), for a ShuffleOp the sender's row in
        the shard (uint32) as `uid`, the payload; and the place of each in the order of emission. They are
        no longer in the box then, as they may be big."""
        columns = {"key": _joined(self.keys, np.uint64)}
        if any(key2 is not None and key2.any() for key2 in self.keys2):
            pairs = zip(self.keys, self.keys2, strict=True)
            filled = [np.zeros(len(key), np.uint64) if key2 is None else key2 for key, key2 in pairs]
            columns["key2"] = _joined(filled, np.uint64)
        if isinstance(self.operator, ShuffleOp):
            columns["uid"] = _joined(self.senders, np.uint32)
        payload = {
            name: pa.concat_arrays(self.payload[name]) if self.payload[name] else pa.array([], dtype)
            for name, dtype in self.operator.emits.items()
        }
        batch = pa.RecordBatch.from_pydict({n: pa.array(c) for n, c in columns.items()} | payload)
        self._empty()
        del columns, payload
        order = message_order(batch, self.operator)
        return taken(batch, order), order

    def _end_run(self, store: Store) -> None:
        """Write the run's messages; and its home: for every row that sent some, the places in the run of
        the replies that it waits for."""
        batch, order = self.sorted()
        slot = np.empty(len(order), np.uint32)
        if isinstance(self.operator, ReduceOp):
            batch, run = combine(self.operator, batch)
            slot[order] = run
        else:
            slot[order] = np.arange(len(order), dtype=np.uint32)
        lows = np.arange(RANGES, dtype=np.uint64) << np.uint64(52)
        index = np.append(np.searchsorted(mixed(_u64(batch, "key")), lows), batch.num_rows)
        about = {"index": base64.b64encode(index.astype("<i8").tobytes()), "base": str(self.base)}
        chunks = (batch.slice(i, CHUNK_ROWS) for i in range(0, batch.num_rows, CHUNK_ROWS))
        written = store.put_batches(self.folder, batch.schema.with_metadata(about), chunks)
        ends = np.concatenate([[0], np.cumsum(_joined(self.lengths, np.int64))]).astype(np.int64)
        slots = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(slot))
        home = pa.record_batch({"row": pa.array(_joined(self.rows, np.uint32)), "slots": slots})
        waiting = store.put_batches(self.folder, home.schema, iter([home]))
        self.record["messages"].append(written["file"])
        self.record["homes"].append(waiting["file"])
        self.record["rows"] += batch.num_rows
        self.record["bytes"] += written["bytes"] + waiting["bytes"]
        self.record["payload_bytes"] += batch.nbytes
        self._start()

    def seal(self, store: Store, name: str) -> dict[str, Any]:
        """Write what is left and commit the messages: `name` is the record."""
        self._end_run(store)
        store.commit_record(name, self.record)
        return self.record


def message_files(node: str, record: dict[str, Any]) -> tuple[str, ...]:
    """The runs that an Outbox wrote for a node and one shard, as names in the store."""
    return tuple(f"nodes/{node}/emit/{file}" for file in record["messages"])


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])


def empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def _typed(values: Any, dtype: pa.DataType, name: str, count: int) -> pa.Array:
    array = values if isinstance(values, pa.Array) else pa.array(values, dtype)
    if array.type != dtype or len(array) != count:
        raise ValueError(f"emit: {name} is {array.type} x {len(array)}, expected {dtype} x {count}")
    return array


def _u64(batch: pa.RecordBatch, name: str) -> UInt64s:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), dtype=np.uint64)


def message_order(batch: pa.RecordBatch, operator: ShuffleOp | ReduceOp) -> npt.NDArray[np.uint32]:
    """Stable order by mixed key, key2 and the operator's order columns."""
    keys: list[npt.NDArray[Any]] = [mixed(_u64(batch, "key"))]
    if "key2" in batch.schema.names:
        keys.append(_u64(batch, "key2"))
    if isinstance(operator, ShuffleOp):
        keys += [batch.column(name).to_numpy(zero_copy_only=False) for name in operator.order]
    return sort_order(keys, spend=len(keys) == 1)


def taken(batch: pa.RecordBatch, order: npt.NDArray[Any]) -> pa.RecordBatch:
    """The rows in that order."""
    return pa.RecordBatch.from_arrays([take(c, order) for c in batch.columns], schema=batch.schema)


def runs(batch: pa.RecordBatch) -> Ints:
    """Where each run of equal keys begins, and the end: (runs + 1,)."""
    key = _u64(batch, "key")
    if not len(key):
        return np.zeros(1, np.int64)
    new = key[1:] != key[:-1]
    if "key2" in batch.schema.names:
        key2 = _u64(batch, "key2")
        new |= key2[1:] != key2[:-1]
    return np.concatenate([[0], np.flatnonzero(new) + 1, [len(key)]]).astype(np.int64)


def combine(operator: ReduceOp, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Ints]:
    """One message for every run of equal keys, and the run of every message."""
    starts = runs(batch)
    run = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    payload = operator.combine(with_key2(batch), starts[:-1])
    if set(payload) != set(operator.emits):
        raise ValueError(f"combine gave {sorted(payload)}, emits says {sorted(operator.emits)}")
    heads = pa.array(starts[:-1])
    keys = [name for name in ("key", "key2") if name in batch.schema.names]
    columns = {name: batch.column(name).take(heads) for name in keys}
    for name, dtype in operator.emits.items():
        columns[name] = _typed(payload[name], dtype, name, len(starts) - 1)
    return pa.RecordBatch.from_pydict(columns), run


def with_key2(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The messages as operators get them: zeros stand for a second key that nobody gave."""
    if "key2" in batch.schema.names:
        return batch
    return batch.add_column(1, "key2", pa.array(np.zeros(batch.num_rows, np.uint64)))


def with_uid(batch: pa.RecordBatch, base: int) -> pa.RecordBatch:
    """The same messages with the sender's uid in place of its row in the shard, whose first uid is `base`."""
    if "uid" not in batch.schema.names:
        return batch
    uid = np.asarray(batch.column("uid")).astype(np.int64) + base
    return batch.set_column(batch.schema.get_field_index("uid"), "uid", pa.array(uid))


@dataclass
class Run:
    """A sorted range of one message file, read a chunk at a time."""

    reader: pa.ipc.RecordBatchFileReader
    home: int  # its number among all runs, by which the replies find back
    base: int  # the uid of its row 0
    at: int
    stop: int

    def take(self, rows: int) -> pa.RecordBatch:
        """The next rows, tagged with their home."""
        parts = []
        stop = min(self.at + rows, self.stop)
        while self.at < stop:
            chunk, offset = divmod(self.at, CHUNK_ROWS)
            size = min(CHUNK_ROWS - offset, stop - self.at)
            parts.append(self.reader.get_batch(chunk).slice(offset, size))
            self.at += size
        batch = parts[0] if len(parts) == 1 else pa.concat_batches(parts)
        return with_uid(batch, self.base).append_column(
            "home", pa.array(np.full(len(batch), self.home, np.int32))
        )

    @property
    def ended(self) -> bool:
        return self.at >= self.stop


def open_runs(store: Store, names: Sequence[str], low: int, high: int) -> list[Run]:
    """The ranges [low, high) of the runs of these names, which are in the order of their rows."""
    found = []
    for home, name in enumerate(names):
        reader = store.open_arrow(name, ranges=True)
        about = reader.schema.metadata
        index = np.frombuffer(base64.b64decode(about[b"index"]), "<i8")
        if index[low] < index[high]:
            found.append(Run(reader, home, int(about[b"base"]), int(index[low]), int(index[high])))
    return found


def merge(found: list[Run], operator: ShuffleOp | ReduceOp, budget_rows: int) -> Iterator[pa.RecordBatch]:
    """All messages of the runs as one sorted stream in bounded memory: hold the next rows of each run,
    give out what no unread message can precede, fill all runs up again.

    A run's share of the budget is its share of the messages, so what is held of them ends at about the
    same key, as keys are mixed, and nearly all goes out at once: what stays is sorted again. Runs come in
    the order of their rows, so a stable sort leaves equal messages in that of their uids.
    """
    total = max(1, sum(run.stop - run.at for run in found))
    least = max(FEWEST_ROWS, min(LEAST_ROWS, 4 * budget_rows // max(1, len(found))))
    shares = [max(least, budget_rows * (run.stop - run.at) // total) for run in found]
    wide = any("key2" in run.reader.schema.names for run in found)
    held: dict[int, pa.RecordBatch] = {}
    while True:
        for i, run in enumerate(found):
            lacking = shares[i] - (held[i].num_rows if i in held else 0)
            if lacking > 0 and not run.ended:
                more = with_key2(run.take(lacking)) if wide else run.take(lacking)
                held[i] = pa.concat_batches([held[i], more]) if i in held else more
        if not held:
            return
        parts = sorted(held.items())
        if len(found) == 1:
            yield from _slices(parts[0][1])
            held.clear()
            continue
        ends = np.cumsum([part.num_rows for _, part in parts])
        table = pa.concat_batches([part for _, part in parts])
        order = message_order(table, operator)
        # A run's unread messages come after the last one that is held of it.
        is_end = np.zeros(len(order), bool)
        is_end[[end - 1 for end, (i, _) in zip(ends, parts, strict=True) if not found[i].ended]] = True
        ready = int(is_end[order].argmax()) + 1 if is_end.any() else len(order)
        yield from _slices(taken(table, order[:ready]))
        given = np.zeros(len(order) + 1, np.int64)
        given[order[:ready] + 1] = 1
        bounds = np.cumsum(given)[np.concatenate([[0], ends])]
        left = ((i, part.slice(b - a)) for (i, part), (a, b) in zip(parts, pairwise(bounds), strict=True))
        held = {i: part for i, part in left if part.num_rows}


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, CHUNK_ROWS):
        yield batch.slice(start, CHUNK_ROWS)
