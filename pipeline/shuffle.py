"""The second and third stage of a shuffle: reducers answer messages, home tasks take the answers in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from operators.contract import ReduceOp, ShuffleOp
from pipeline.compute import checked, commit, located
from pipeline.manifest import Manifest
from pipeline.memory import peak_bytes, reset_peak
from pipeline.messages import CHUNK_ROWS, RANGES, Ints, combine, merge, open_runs, runs
from pipeline.nodes import Node
from pipeline.store import Store
from pipeline.tasks import Done
from pipeline.view import ShardView

REDUCE_BYTES = 64 << 20  # what a reducer holds of its partition at once
SEGMENT_BYTES = 64 << 20  # what it holds of the replies before it writes them


@dataclass(frozen=True)
class Shuffle:
    """The context of reduce and home tasks. emits: the message file of every shard, in shard order."""

    store: Store
    manifest: Manifest
    node: Node
    emits: tuple[str, ...]
    bounds: tuple[int, ...]  # reducer r answers the ranges [bounds[r], bounds[r + 1])
    row_bytes: int

    @property
    def folder(self) -> str:
        return f"nodes/{self.node.key}/reply"


def bounds_for(payload_bytes: int) -> tuple[int, ...]:
    """Whole ranges for as many reducers as keep a partition under REDUCE_BYTES."""
    reducers = min(RANGES, max(1, -(-payload_bytes // REDUCE_BYTES)))
    return tuple(RANGES * r // reducers for r in range(reducers + 1))


def reduce(context: Shuffle, reducer: int) -> Done:
    """Answer every message of a partition; the replies lie sorted by home in segments."""
    store, name = context.store, f"{context.folder}/{reducer}.json"
    done = Done()
    if store.exists(name):
        return done
    reset_peak()
    began, cpu = time.perf_counter(), time.thread_time()
    operator = context.node.build()
    assert isinstance(operator, ShuffleOp | ReduceOp)
    found = open_runs(store, context.emits, context.bounds[reducer], context.bounds[reducer + 1])
    budget_rows = max(CHUNK_ROWS, REDUCE_BYTES // max(1, context.row_bytes))
    stream = merge(found, operator, budget_rows)
    with located(f"{context.node.name} ({context.node.op}), partition {reducer}"):
        answers = _answers(operator, stream)
        _write_segments(context, name, operator, answers)
    done.seconds, done.cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu
    done.peak_memory_bytes = peak_bytes()
    return done


def reply_types(operator: ShuffleOp | ReduceOp) -> dict[str, pa.DataType]:
    return dict(operator.replies if isinstance(operator, ShuffleOp) else operator.emits)


def _answers(operator: ShuffleOp | ReduceOp, stream: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """(home, slot, reply...) for every message."""
    if isinstance(operator, ReduceOp):
        yield from _combined(operator, stream)
        return
    taken: list[pa.RecordBatch] = []

    def messages() -> Iterator[pa.RecordBatch]:
        for batch in stream:
            taken.append(batch)
            yield batch.drop_columns(["home", "slot"])

    for columns in operator.reply(messages()):
        if len(taken) != 1:
            raise ValueError("reply must take one batch of messages, yield its columns, then take the next")
        batch = taken.pop()
        yield _addressed(batch, checked(columns, operator.replies, batch.num_rows, "reply"))
    if taken or next(stream, None) is not None:
        raise ValueError("reply ended before it had answered every batch of messages")


def _addressed(batch: pa.RecordBatch, replies: dict[str, pa.Array]) -> pa.RecordBatch:
    address = {name: batch.column(name) for name in ("home", "slot")}
    return pa.RecordBatch.from_pydict({**address, **replies})


def _combined(operator: ReduceOp, stream: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Every message of a key gets the key's summary. There is one message a key and task, so the
    messages of one key are few; a key that straddles batches is held back until it is whole."""
    held: pa.RecordBatch | None = None
    for batch in stream:
        whole = batch if held is None else pa.concat_batches([held, batch])
        last = int(runs(whole)[-2])
        held = whole.slice(last)
        if last:
            yield _summaries(operator, whole.slice(0, last))
    if held is not None:
        yield _summaries(operator, held)


def _summaries(operator: ReduceOp, batch: pa.RecordBatch) -> pa.RecordBatch:
    summary, run = combine(operator, batch.drop_columns(["home", "slot"]))
    at = pa.array(run)
    return _addressed(batch, {name: summary.column(name).take(at) for name in operator.emits})


def _write_segments(
    context: Shuffle, name: str, operator: ShuffleOp | ReduceOp, answers: Iterator[pa.RecordBatch]
) -> None:
    fields = [("home", pa.int32()), ("slot", pa.int64()), *reply_types(operator).items()]
    schema = pa.schema(fields)
    offsets: list[list[int]] = []

    def segments() -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        for batch in answers:
            held.append(batch)
            if sum(b.nbytes for b in held) > SEGMENT_BYTES:
                yield _segment(held, offsets, len(context.emits))
                held = []
        if held:
            yield _segment(held, offsets, len(context.emits))

    record = context.store.put_batches(context.folder, schema, segments())
    index = np.array(offsets, np.int64).reshape(len(offsets), len(context.emits) + 1)
    record["index"] = context.store.put_arrays(context.folder, {"offsets": index})["file"]
    context.store.commit_record(name, record)


def _segment(held: list[pa.RecordBatch], offsets: list[list[int]], homes: int) -> pa.RecordBatch:
    """The replies sorted by home, and where each home's begin."""
    batch = pa.concat_batches(held)
    home = batch.column("home").to_numpy(zero_copy_only=False)
    order = np.argsort(home, kind="stable")
    offsets.append(np.searchsorted(home[order], np.arange(homes + 1)).tolist())
    return batch.take(pa.array(order))


def home(context: Shuffle, index: int) -> Done:
    """Take the replies for one shard's messages in and commit the shard's columns."""
    view = ShardView(context.store, context.manifest, index)
    node, done = context.node, Done()
    if view.records(node.key, node.positional):
        return done
    reset_peak()
    began, cpu = time.perf_counter(), time.thread_time()
    operator = node.build()
    assert isinstance(operator, ShuffleOp | ReduceOp)
    rows = np.flatnonzero(view.alive(node.alive)).astype(np.uint32)
    waiting, replies = _replies(context, operator, index)
    parts = []
    for start in range(0, len(rows), CHUNK_ROWS):
        some = rows[start : start + CHUNK_ROWS]
        low, high = np.searchsorted(waiting, [some[0], int(some[-1]) + 1])
        own = replies.slice(low, high - low)
        at = np.searchsorted(some, waiting[low:high])
        batch = pa.record_batch({"uid": pa.array(some.astype(np.int64) + view.shard.base)})
        with located(f"{node.name} ({node.op})", view, some):
            columns = operator.columns(batch, own.append_column("row", pa.array(at.astype(np.int64))))
            values = checked(columns, node.adds, len(some), "columns")
        parts.append(pa.RecordBatch.from_pydict({"row": pa.array(some, pa.uint32()), **values}))
    commit(view, node, rows, parts)  # the rows were counted when they emitted
    done.seconds, done.cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu
    done.peak_memory_bytes = peak_bytes()
    return done


def _replies(context: Shuffle, operator: ShuffleOp | ReduceOp, index: int) -> tuple[Any, pa.RecordBatch]:
    """(row of every message, its reply), in the order in which they were emitted."""
    store = context.store
    emitted: dict[str, Any] = json.loads(store.read(f"nodes/{context.node.key}/emit/{index}.json"))
    homes = store.open_arrow(f"nodes/{context.node.key}/emit/{emitted['home']}").read_all().combine_chunks()
    rows = homes["row"].combine_chunks().to_numpy(zero_copy_only=False)
    slots: Ints = homes["slot"].combine_chunks().to_numpy(zero_copy_only=False)
    types = reply_types(operator)
    parts = [part for r in range(len(context.bounds) - 1) for part in _from_reducer(context, r, index)]
    if not parts:
        schema = pa.schema(list(types.items()))
        return rows, pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
    replies = pa.concat_batches(parts)
    sent = np.argsort(replies.column("slot").to_numpy(zero_copy_only=False), kind="stable")
    return rows, replies.select(list(types)).take(pa.array(sent[slots]))


def _from_reducer(context: Shuffle, reducer: int, index: int) -> Iterator[pa.RecordBatch]:
    store = context.store
    record = store.record(f"{context.folder}/{reducer}.json")
    assert record is not None, f"reducer {reducer} has not committed"
    offsets = store.get_arrays(f"{context.folder}/{record['index']}")["offsets"]
    reader = store.open_arrow(f"{context.folder}/{record['file']}", ranges=True)
    for segment in range(len(offsets)):
        low, high = int(offsets[segment, index]), int(offsets[segment, index + 1])
        if low < high:
            yield reader.get_batch(segment).slice(low, high - low)
