"""The second and third stage of a shuffle: reducers answer messages, home tasks take the answers in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.contract import ReduceOp, ShuffleOp
from operators.kernels.radix import grouped
from operators.kernels.room import within
from pipeline.compute import checked, commit, located
from pipeline.manifest import Manifest
from pipeline.memory import peak_bytes, reset_peak
from pipeline.messages import (
    CHUNK_ROWS,
    LEAST_ROWS,
    RANGES,
    Ints,
    combine,
    empty,
    merge,
    open_runs,
    runs,
    taken,
    with_key2,
)
from pipeline.nodes import Node
from pipeline.store import Store
from pipeline.tasks import Done, judge
from pipeline.view import Rows, ShardView

REDUCE_BYTES = 32 << 20  # of messages that one reducer answers
HELD_BYTES = 16 << 20  # what it holds of them at once: more leaves the cache and takes new pages each time
SORT_BYTES = 48  # that sorting takes beside each message
SEGMENT_BYTES = 16 << 20  # what it holds of the replies before it writes them


@dataclass(frozen=True)
class Shuffle:
    """The context of reduce and home tasks. emits: the runs of every shard, in shard order."""

    store: Store
    manifest: Manifest
    node: Node
    emits: tuple[tuple[str, ...], ...]
    bounds: tuple[int, ...]  # reducer r answers the ranges [bounds[r], bounds[r + 1])
    row_bytes: int

    @property
    def folder(self) -> str:
        return f"nodes/{self.node.key}/reply"

    @property
    def runs(self) -> list[str]:
        """The runs of all shards; a run's number is its place here."""
        return [name for names in self.emits for name in names]

    def runs_of(self, index: int) -> range:
        """The numbers of a shard's runs."""
        first = sum(map(len, self.emits[:index]))
        return range(first, first + len(self.emits[index]))


def bounds_for(payload_bytes: int) -> tuple[int, ...]:
    """Whole ranges for as many reducers as keep a partition under REDUCE_BYTES."""
    reducers = min(RANGES, max(1, -(-payload_bytes // within(REDUCE_BYTES, 32))))
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
    found = open_runs(store, context.runs, context.bounds[reducer], context.bounds[reducer + 1])
    budget_rows = max(LEAST_ROWS, within(HELD_BYTES, 64) // (context.row_bytes + SORT_BYTES))
    stream = merge(found, operator, budget_rows)
    with located(f"{context.node.name} ({context.node.op}), partition {reducer}"):
        answers = _answers(operator, stream)
        _write_segments(context, name, operator, answers)
    done.seconds, done.cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu
    done.peak_memory_bytes = peak_bytes()
    return done


def reply_types(operator: ShuffleOp | ReduceOp) -> dict[str, pa.DataType]:
    return dict(operator.replies if isinstance(operator, ShuffleOp) else operator.emits)


def _travelling(operator: ShuffleOp | ReduceOp) -> pa.Schema:
    """What goes back to a home; never nothing, as the number of replies must be known there."""
    return pa.schema(list(reply_types(operator).items()) or [("", pa.null())])


def _answers(operator: ShuffleOp | ReduceOp, stream: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """(reply..., home) for every message, in the stream's order."""
    if isinstance(operator, ReduceOp):
        yield from _combined(operator, stream)
        return
    taken: list[pa.RecordBatch] = []

    def messages() -> Iterator[pa.RecordBatch]:
        for batch in stream:
            taken.append(batch)
            yield with_key2(batch.drop_columns(["home"]))

    for columns in operator.reply(messages()):
        if len(taken) != 1:
            raise ValueError("reply must take one batch of messages, yield its columns, then take the next")
        batch = taken.pop()
        yield _addressed(batch, checked(columns, operator.replies, batch.num_rows, "reply"))
    if taken or next(stream, None) is not None:
        raise ValueError("reply ended before it had answered every batch of messages")


def _addressed(batch: pa.RecordBatch, replies: dict[str, pa.Array]) -> pa.RecordBatch:
    named = replies or {"": pa.nulls(batch.num_rows)}
    return pa.RecordBatch.from_pydict({**named, "home": batch.column("home")})


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
    summary, run = combine(operator, batch.drop_columns(["home"]))
    at = pa.array(run)
    return _addressed(batch, {name: summary.column(name).take(at) for name in operator.emits})


def _write_segments(
    context: Shuffle, name: str, operator: ShuffleOp | ReduceOp, answers: Iterator[pa.RecordBatch]
) -> None:
    schema, runs = _travelling(operator), len(context.runs)
    offsets: list[Ints] = []

    def segments() -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in answers:
            held.append(batch)
            size += batch.nbytes
            if size > within(SEGMENT_BYTES, 64):
                yield _segment(held, offsets, runs)
                size = 0
        if held:
            yield _segment(held, offsets, runs)

    record = context.store.put_batches(context.folder, schema, segments())
    index = np.array(offsets, np.int64).reshape(len(offsets), runs + 1)
    record["index"] = context.store.put_arrays(context.folder, {"offsets": index})["file"]
    context.store.commit_record(name, record)


def _segment(held: list[pa.RecordBatch], offsets: list[Ints], runs: int) -> pa.RecordBatch:
    """The replies sorted by the run of their messages, and where each run's begin. They stay in the order
    of the messages in that run, so they need no other address. Empties `held`."""
    batch = pa.concat_batches(held)
    held.clear()
    home = batch.column("home").to_numpy(zero_copy_only=False)
    order, starts = grouped(home, runs)
    offsets.append(starts)
    replies = batch.drop_columns(["home"])
    return replies if runs == 1 else taken(replies, order)


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
    alive = view.alive(node.alive)
    rows, place = np.flatnonzero(alive).astype(np.uint32), np.cumsum(alive) - 1
    made = []
    for some, waiting, slots, replies in _waiting(context, operator, index, rows):
        at = np.repeat(place[waiting] - place[some[0]], np.diff(np.asarray(slots.offsets)))
        batch = pa.record_batch({"uid": pa.array(some.astype(np.int64) + view.shard.base)})
        with located(f"{node.name} ({node.op})", view, some):
            answers = replies.take(slots.flatten()).append_column("row", pa.array(at))
            values = checked(operator.columns(batch, answers), node.adds, len(some), "columns")
        made.append(pa.RecordBatch.from_pydict({"row": pa.array(some, pa.uint32()), **values}))
    judge(done, node, made)
    commit(view, node, rows, made)  # the rows were counted when they emitted
    done.seconds, done.cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu
    done.peak_memory_bytes = peak_bytes()
    return done


def _waiting(
    context: Shuffle, operator: ShuffleOp | ReduceOp, index: int, rows: Rows
) -> Iterator[tuple[Rows, Rows, pa.Array, pa.RecordBatch]]:
    """Slices of a shard's alive rows: (rows, which of them sent messages, the places of the replies that
    each of these waits for, the replies). Only those to one run at a time are held."""
    emitted = context.store.record(f"nodes/{context.node.key}/emit/{index}.json")
    assert emitted is not None, f"shard {index} has not emitted"
    schema, names = _travelling(operator), list(reply_types(operator))
    runs, start = context.runs_of(index), 0
    for run, file in zip(runs, emitted["homes"], strict=True):
        home = context.store.open_arrow(f"nodes/{context.node.key}/emit/{file}").get_batch(0)
        waiting, slots = np.asarray(home.column("row")), home.column("slots")
        stop = len(rows) if run == runs[-1] else int(np.searchsorted(rows, waiting[-1], side="right"))
        parts = list(_replies_to(context, run))
        replies = (pa.concat_batches(parts) if parts else empty(schema)).select(names)
        parts.clear()
        for low in range(start, stop, CHUNK_ROWS):
            some = rows[low : min(low + CHUNK_ROWS, stop)]
            first, end = np.searchsorted(waiting, [some[0], int(some[-1]) + 1])
            yield some, waiting[first:end], slots.slice(first, end - first), replies
        start = stop


def _replies_to(context: Shuffle, run: int) -> Iterator[pa.RecordBatch]:
    """The replies to a run's messages, in their order there."""
    for reducer in range(len(context.bounds) - 1):
        yield from _from_reducer(context, reducer, run)


def _from_reducer(context: Shuffle, reducer: int, run: int) -> Iterator[pa.RecordBatch]:
    store = context.store
    record = store.record(f"{context.folder}/{reducer}.json")
    assert record is not None, f"reducer {reducer} has not committed"
    offsets = store.get_arrays(f"{context.folder}/{record['index']}")["offsets"]
    reader = store.open_arrow(f"{context.folder}/{record['file']}", ranges=True)
    for segment in range(len(offsets)):
        low, high = int(offsets[segment, run]), int(offsets[segment, run + 1])
        if low < high:
            yield reader.get_batch(segment).slice(low, high - low)
