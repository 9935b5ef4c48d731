"""The tasks over one shard: read it once, run every operator that is ready on it, commit what they gave."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from operators.contract import (
    Artifact,
    ColumnOp,
    Columns,
    FitOp,
    FoldOp,
    LoopOp,
    MapOp,
    ReduceOp,
    ScoreOp,
    ShuffleOp,
)
from operators.kernels.room import within
from pipeline.compute import QUARANTINE, commit, located, run_columns, with_nulls
from pipeline.devices import here
from pipeline.errors import ConfigError
from pipeline.manifest import Manifest
from pipeline.memory import peak_bytes, reset_peak
from pipeline.messages import Outbox
from pipeline.nodes import Node
from pipeline.store import Store
from pipeline.view import Column, Mask, Rows, ShardView

WHERE_ROWS = 65_536  # of a column that says which rows are wanted, at once
FRAGMENT_BYTES = 16 << 20  # of columns that a task holds before it commits them
MAPPED_ROWS = 262_144  # of stored columns that stay in memory once they were read
LIGHT_JOBS = 4  # of one scan, that have room in what is meant for one
SCORE_ROWS = 512  # a score is committed after so many rows of a shard: the most that a kill can cost


@dataclass(frozen=True)
class Job:
    """One node's part in a scan. role: `columns`, `fold` or `emit`."""

    node: Node
    role: str
    batch_rows: int


@dataclass(frozen=True)
class Scan:
    """The context of scan tasks: the jobs that read the same shards together."""

    store: Store
    manifest: Manifest
    jobs: tuple[Job, ...]


def place() -> str:
    """Where this runs: host:process."""
    return f"{_host()}:{os.getpid()}"


@cache
def _host() -> str:
    return socket.gethostname()


@dataclass
class Done:
    """What a task tells the driver of a node: small numbers only."""

    rows: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes: int = 0
    peak_memory_bytes: int = 0  # of the process that ran the task, other tasks in it included
    judged: int = 0  # rows that got a verdict
    dropped: int = 0  # of them
    quarantined: int = 0  # of these
    place: str = field(default_factory=place)  # host:process of the worker

    def __reduce__(self) -> tuple[type[Done], tuple[Any, ...]]:
        return Done, astuple(self)  # pickled without the names: the driver fetches many


@dataclass
class Work:
    """A job on one shard, under way."""

    job: Job
    operator: ColumnOp
    rows: Rows  # all that must have an answer
    mask: Mask  # those that the operator must see
    argument: Any  # what the operator's method gets beside the batch
    state: Artifact | None = None
    parts: list[pa.RecordBatch] = field(default_factory=list)
    held_bytes: int = 0  # of the parts
    outbox: Outbox | None = None
    sharing: int = 1  # how many such jobs live beside it, in fours
    done: Done = field(default_factory=Done)

    @property
    def reads(self) -> dict[str, Column]:
        """What the operator's method is given."""
        every = self.job.node.reads
        if self.job.role == "columns" and isinstance(self.operator, FitOp):
            return {name: every[name] for name in self.operator.columns_read}
        return every


def scan(context: Scan, index: int) -> dict[str, Done]:
    """Run all jobs over one shard in one pass; idempotent: what is committed is not done again."""
    reset_peak()
    view = ShardView(context.store, context.manifest, index)
    sharing = -(-len(context.jobs) // LIGHT_JOBS)
    works = [w for job in context.jobs if (w := _begin(view, job, sharing)) is not None]
    wanting = [w for w in works if w.mask.any()]
    reading = [w for w in wanting if view.source_columns(w.reads)]
    _pass(view, reading)
    _pass(view, [w for w in wanting if w not in reading])
    for work in works:
        _finish(view, work)
        work.done.peak_memory_bytes = peak_bytes()
    return {w.job.node.name: w.done for w in works}


def _pass(view: ShardView, works: Sequence[Work]) -> None:
    """One pass over the rows that any of the works wants."""
    if not works:
        return
    source = set[str]().union(*(view.source_columns(w.reads) for w in works))
    rows = np.flatnonzero(np.logical_or.reduce([w.mask for w in works])).astype(np.uint32)
    seen = 0
    for some, read in view.read(source, rows, min(w.job.batch_rows for w in works)):
        for work in works:
            _feed(view, work, some, read)
        seen += len(some)
        if seen >= within(MAPPED_ROWS, 4096):
            view.unmap()
            seen = 0


def _begin(view: ShardView, job: Job, sharing: int) -> Work | None:
    """The rows that a job must look at on this shard, or None where it is done."""
    node, store = job.node, view.store
    mask = view.alive(node.alive)
    if job.role == "columns":
        mask = mask & ~view.covered(node.key, node.positional)
        if not mask.any():
            return None
    elif store.exists(partial_name(node, job.role, view.shard.index)):
        return None
    operator = node.build()
    rows, mask = np.flatnonzero(mask).astype(np.uint32), chosen(view, node, operator, mask)
    work = Work(job, operator, rows, mask, _argument(store, node, operator), sharing=sharing)
    work.done.rows = len(rows) - int(mask.sum())
    if isinstance(operator, ShuffleOp | ReduceOp):
        work.outbox = Outbox(operator, store, f"nodes/{node.key}/emit", sharing)
    return work


def chosen(view: ShardView, node: Node, operator: ColumnOp, mask: Mask) -> Mask:
    """Which rows of a mask the operator wants to see: those where its `where` column is true."""
    where = operator.where if isinstance(operator, MapOp | ShuffleOp | ReduceOp) else ""
    if not where:
        return mask
    reads = {where: node.reads[where]}
    rows = np.flatnonzero(mask).astype(np.uint32)
    some = np.zeros(len(mask), bool)
    for part, read in view.read(view.source_columns(reads), rows, WHERE_ROWS):
        told = view.assemble(reads, part, read).column(where)
        some[part] = told.fill_null(False).to_numpy(zero_copy_only=False)
    return some


def _argument(store: Store, node: Node, operator: ColumnOp) -> Any:
    """`uses`, or for the columns of a fold or a fit its own artifact."""
    uses = load_uses(store, node)
    if isinstance(operator, FoldOp | FitOp) and store.exists(artifact_name(node.key)):
        return store.get_artifact(artifact_name(node.key))
    return uses


def load_uses(store: Store, node: Node) -> dict[str, Artifact]:
    """What the node uses, by the operator's names."""
    return {name: store.get_artifact(artifact_name(key)) for name, key in node.artifacts.items()}


def artifact_name(key: str) -> str:
    return f"nodes/{key}/artifact.json"


def partial_name(node: Node, role: str, index: int) -> str:
    return f"nodes/{node.key}/{role}/{index}.json"


def _feed(view: ShardView, work: Work, rows: Rows, read: pa.RecordBatch | None) -> None:
    """Give a work its rows of a batch."""
    began, cpu = time.perf_counter(), time.thread_time()
    mine = work.mask[rows]
    if not mine.all():
        rows = rows[mine]
        read = None if read is None else read.filter(pa.array(mine))
    if len(rows):
        _apply(view, work, rows, view.assemble(work.reads, rows, read))
        work.done.rows += len(rows)
    work.done.seconds += time.perf_counter() - began
    work.done.cpu_seconds += time.thread_time() - cpu


def _apply(view: ShardView, work: Work, rows: Rows, batch: pa.RecordBatch) -> None:
    node, operator = work.job.node, work.operator
    if work.job.role == "columns":
        assert isinstance(operator, MapOp | FoldOp | FitOp | LoopOp)
        call = operator.columns
        made = run_columns(view, node, lambda some: call(some, work.argument), rows, batch)
        work.parts += made
        work.held_bytes += sum(part.nbytes for part in made)
        if work.held_bytes >= within(FRAGMENT_BYTES, 64 * work.sharing):
            _commit(view, work, int(rows[-1]) + 1)
        return
    with located(f"{node.name} ({node.op})", view, rows):
        if isinstance(operator, FoldOp):
            state = operator.fold(batch, work.argument)
            work.state = state if work.state is None else operator.merge(work.state, state)
        else:
            assert isinstance(operator, ShuffleOp | ReduceOp)
            assert work.outbox is not None
            work.outbox.add(rows, view.shard.base, operator.emit(batch, work.argument))


def _commit(view: ShardView, work: Work, stop: int) -> None:
    """Commit the columns of the rows before `stop`, nulls for those that the operator did not want."""
    rows, work.rows = np.split(work.rows, [np.searchsorted(work.rows, stop)])
    parts = with_nulls(work.job.node, rows, work.parts)
    work.parts, work.held_bytes = [], 0
    judge(work.done, work.job.node, parts)
    work.done.bytes += commit(view, work.job.node, rows, parts)


def judge(done: Done, node: Node, parts: list[pa.RecordBatch]) -> None:
    """Book how many rows of a fragment have a verdict and how many are dropped."""
    if node.drops:
        drops = [part.column("drop") for part in parts if "drop" in part.schema.names]
        done.judged += sum(part.num_rows for part in parts)
        done.dropped += sum(len(drop) - drop.null_count for drop in drops)
        aside = [part.column(QUARANTINE) for part in parts if QUARANTINE in part.schema.names]
        done.quarantined += sum(len(text) - text.null_count for text in aside)


def _finish(view: ShardView, work: Work) -> None:
    node, store = work.job.node, view.store
    began, cpu = time.perf_counter(), time.thread_time()
    name = partial_name(node, work.job.role, view.shard.index)
    if work.job.role == "columns":
        if len(work.rows):
            _commit(view, work, view.shard.rows)
    elif work.outbox is not None:
        record = work.outbox.seal(store, name)
        work.done.bytes = int(record["bytes"])
    else:
        assert isinstance(work.operator, FoldOp)
        if work.state is None:
            nothing = view.assemble(node.reads, np.empty(0, np.uint32), None)
            work.state = work.operator.fold(nothing, work.argument)
        store.put_artifact(name, work.state)
    work.done.seconds += time.perf_counter() - began
    work.done.cpu_seconds += time.thread_time() - cpu


@dataclass(frozen=True)
class Merge:
    """The context of merging a fold's partial summaries."""

    store: Store
    node: Node


def merge_states(context: Merge, task: tuple[str, tuple[str, ...]]) -> Done:
    """Merge some summaries into one, under the task's name."""
    name, parts = task
    store, done = context.store, Done()
    if store.exists(name):
        return done
    began, cpu = time.perf_counter(), time.thread_time()
    operator = context.node.build()
    assert isinstance(operator, FoldOp)
    state = store.get_artifact(parts[0])
    with located(f"{context.node.name} ({context.node.op}), merging"):
        for part in parts[1:]:
            state = dict(operator.merge(state, store.get_artifact(part)))
    store.put_artifact(name, state)
    done.seconds, done.cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu
    return done


def finish_fold(context: Merge, last: str) -> Done:
    """What others use of a fold."""
    operator = context.node.build()
    assert isinstance(operator, FoldOp)
    with located(f"{context.node.name} ({context.node.op}), finishing"):
        artifact = operator.finish(context.store.get_artifact(last), load_uses(context.store, context.node))
    context.store.put_artifact(artifact_name(context.node.key), artifact)
    return Done()


@dataclass(frozen=True)
class Scoring:
    """The context of a node that needs a model on a device."""

    store: Store
    manifest: Manifest
    node: Node
    device: str
    batch_rows: int


@dataclass(frozen=True)
class Loaded:
    """A model, and whose turn it is: tasks that share it prepare side by side, then take turns."""

    model: Any
    turn: threading.Lock = field(default_factory=threading.Lock)


def load_model(context: Scoring) -> Loaded:
    """The model of a ScoreOp, on its device."""
    operator = context.node.build()
    assert isinstance(operator, ScoreOp)
    try:
        return Loaded(operator.load(here(context.device)))
    except (OSError, ValueError) as error:
        what = f"{context.node.name} ({context.node.op}) cannot load its model"
        raise ConfigError(f"{what}: {error}") from error


def score(loaded: Loaded, context: Scoring, task: tuple[int, int]) -> Done:
    """Score the rows of one block of a shard that no attempt has scored yet."""
    index, block = task
    view, node, done = ShardView(context.store, context.manifest, index), context.node, Done()
    operator = node.build()
    assert isinstance(operator, ScoreOp)

    def columns(batch: pa.RecordBatch) -> Columns:
        prepared, asked = operator.prepare(batch, loaded.model), time.perf_counter()
        with loaded.turn:
            done.seconds -= time.perf_counter() - asked  # somebody else's work
            return operator.columns(prepared, loaded.model)

    reset_peak()
    began, cpu = time.perf_counter(), time.process_time()
    rows = np.flatnonzero(unscored(view, node)).astype(np.uint32)
    rows = rows[rows // SCORE_ROWS == block]
    parts: list[pa.RecordBatch] = []
    source = view.source_columns(node.reads)
    for some, read in view.read(source, rows, context.batch_rows):
        batch = view.assemble(node.reads, some, read)
        parts += run_columns(view, node, columns, some, batch)
    if len(rows):
        judge(done, node, parts)
        done.bytes = commit(view, node, rows, parts)
    done.rows, done.peak_memory_bytes = len(rows), peak_bytes()
    done.seconds += time.perf_counter() - began
    done.cpu_seconds = time.process_time() - cpu
    return done


def unscored(view: ShardView, node: Node) -> Mask:
    """The rows that are alive before a node and have no value of it."""
    return view.alive(node.alive) & ~view.covered(node.key, node.positional)


def blocks(context: Scoring, index: int) -> list[tuple[int, int]]:
    """The (shard, block) pairs of a shard that have rows without a score."""
    view = ShardView(context.store, context.manifest, index)
    rows = np.flatnonzero(unscored(view, context.node))
    return [(index, int(block)) for block in np.unique(rows // SCORE_ROWS)]


def fit(context: Scoring, _: int) -> Done:
    """Run a FitOp's training over all rows, one job."""
    store, node, done = context.store, context.node, Done()
    if store.exists(artifact_name(node.key)):
        return done
    operator = node.build()
    assert isinstance(operator, FitOp)
    began, cpu = time.perf_counter(), time.process_time()

    def rows_of_all() -> Any:
        for index in range(len(context.manifest.shards)):
            view = ShardView(store, context.manifest, index)
            rows = np.flatnonzero(view.alive(node.alive)).astype(np.uint32)
            for some, read in view.read(view.source_columns(node.reads), rows, context.batch_rows):
                done.rows += len(some)
                yield view.assemble(node.reads, some, read)

    with located(f"{node.name} ({node.op}), fitting"):
        artifact = operator.fit(rows_of_all(), here(context.device), load_uses(store, node))
    store.put_artifact(artifact_name(node.key), artifact)
    done.seconds, done.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return done
