"""Calls an operator's own methods over one batch, without store or engine."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    Uses,
)
from pipeline.compute import checked
from pipeline.engine import Engine, Resources
from pipeline.engine_around import EngineAround
from pipeline.law_bench import BrokenLaw
from pipeline.law_compare import close
from pipeline.manifest import Manifest
from pipeline.messages import Outbox, combine, with_key2, with_uid
from pipeline.nodes import SIZE, Node
from pipeline.store import Store
from pipeline.tasks import Scan, Scoring, chosen, load_uses
from pipeline.view import ShardView

ROUNDS = 2  # of a loop's rounds the first and one that reads the one before
BATCH_ROWS = 4096


@dataclass(frozen=True)
class Case:
    """An operator with a batch that a run gave it."""

    name: str
    op: ColumnOp
    batch: pa.RecordBatch
    uses: Uses
    model: Any = None

    @property
    def tolerance(self) -> float:
        """0 where values are exact."""
        return self.op.tolerance if isinstance(self.op, ScoreOp) else 0.0

    @property
    def by_row(self) -> bool:
        """Whether each row's values depend on that row alone."""
        return isinstance(self.op, MapOp | ScoreOp)

    def answer(self, batch: pa.RecordBatch) -> Columns:
        """All that the operator adds to these rows, as if there were no others."""
        op = self.op
        match op:
            case MapOp() | LoopOp():
                return self.checked(op.columns(batch, self.uses), batch)
            case ScoreOp():
                return self.checked(op.columns(op.prepare(batch, self.model), self.model), batch)
            case FoldOp():
                state = op.finish(op.fold(batch, self.uses), self.uses)
                return self.checked(op.columns(batch, state), batch) if op.adds else {}
            case FitOp():
                state = op.fit(iter([batch]), "cpu", self.uses)
                if not op.adds:
                    return {}
                return self.checked(op.columns(batch.select(list(op.columns_read)), state), batch)
            case ShuffleOp() | ReduceOp():
                return self.checked(_exchanged(op, batch, self.uses), batch)
        raise TypeError(f"{self.name}: the laws do not know the shape of {type(op).__name__}")

    def touch(self, batch: pa.RecordBatch) -> None:
        """Call the one method that reads the rows themselves."""
        match self.op:
            case FoldOp():
                self.op.fold(batch, self.uses)
            case ShuffleOp() | ReduceOp():
                Outbox(self.op).add(_all(batch), 0, self.op.emit(batch, self.uses))
            case _:
                self.answer(batch)

    def checked(self, columns: Columns, batch: pa.RecordBatch) -> Columns:
        """The columns, if they are what `adds` says."""
        return checked(columns, self.op.adds, batch.num_rows, "columns")

    @contextlib.contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """Whatever goes wrong inside breaks a law; `what` says on which rows."""
        with tried(f"{self.name} ({type(self.op).__name__}) on {what}", type(self.op)):
            yield

    def agree(self, one: Columns, other: Columns, what: str) -> None:
        """BrokenLaw when two answers differ."""
        for name, column in one.items():
            for row, (a, b) in enumerate(zip(column.to_pylist(), other[name].to_pylist(), strict=True)):
                if not close(a, b, self.tolerance):
                    raise BrokenLaw(f"{self.name}: {what}: {name}[{row}] is {a!r}, then {b!r}")


@contextlib.contextmanager
def tried(what: str, kind: type) -> Iterator[None]:
    """An exception inside becomes a broken law that names the operator's own line."""
    try:
        yield
    except BrokenLaw:
        raise
    except Exception as error:
        own = inspect.getsourcefile(kind)
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((f for f in reversed(frames) if f.filename == own), frames[-1])
        raise BrokenLaw(
            f"{what} fails: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
        ) from error


def _all(batch: pa.RecordBatch) -> np.ndarray:
    return np.arange(batch.num_rows, dtype=np.uint32)


def _exchanged(op: ShuffleOp | ReduceOp, batch: pa.RecordBatch, uses: Uses) -> Columns:
    """A whole shuffle over one batch, in memory."""
    sent = op.emit(batch, uses)
    outbox = Outbox(op)
    outbox.add(_all(batch), 0, sent)
    ordered, order = outbox.sorted()
    if isinstance(op, ReduceOp):
        summary, run = combine(op, ordered)
        answers = summary.select(list(op.emits)).take(pa.array(run))
    else:
        answers = _replied(op, with_key2(with_uid(ordered, 0)))
    back = answers.take(pa.array(np.argsort(order, kind="stable")))
    uid = batch.column("uid") if "uid" in batch.schema.names else pa.array(_all(batch).astype(np.int64))
    replies = back.append_column("row", pa.array(np.asarray(sent.row, np.int64)))
    return op.columns(pa.RecordBatch.from_pydict({"uid": uid}), replies)


def _replied(op: ShuffleOp, messages: pa.RecordBatch) -> pa.RecordBatch:
    """The replies to all messages; an engine never asks for replies to none."""
    schema = pa.schema(list(op.replies.items()))
    if not messages.num_rows:
        return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
    (reply,) = op.reply(iter([messages]))
    return pa.RecordBatch.from_pydict(checked(reply, op.replies, messages.num_rows, "reply"), schema=schema)


class Recorder(EngineAround):
    """An engine that keeps, of every node that runs on it, the batch that its first shard gives."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.cases: dict[str, Case] = {}

    def run(self, fn: Callable[..., Any], context: Any, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """What the engine gives."""
        if isinstance(context, Scan):
            for job in context.jobs:
                self._record(context, job.node)
        if isinstance(context, Scoring):
            self._record(context, context.node)
        yield from self.engine.run(fn, context, tasks)

    def score(
        self,
        load: Callable[..., Any],
        fn: Callable[..., Any],
        context: Any,
        tasks: Sequence[Any],
        resources: Resources,
    ) -> Iterator[tuple[int, Any]]:
        """What the engine gives, with a model."""
        self._record(context, context.node)
        yield from self.engine.score(load, fn, context, tasks, resources)

    def _record(self, context: Scan | Scoring, node: Node) -> None:
        number = node.name.rpartition("@")[2].partition("/")[0]
        late = number.isdigit() and int(number) >= ROUNDS
        if node.name != SIZE and node.name not in self.cases and not late:
            self.cases[node.name] = _case(context.store, context.manifest, node)


def _case(store: Store, manifest: Manifest, node: Node) -> Case:
    view = ShardView(store, manifest, 0)
    op = node.build()
    rows = np.flatnonzero(chosen(view, node, op, view.alive(node.alive))).astype(np.uint32)[:BATCH_ROWS]
    some, read = next(view.read(view.source_columns(node.reads), rows, BATCH_ROWS), (rows[:0], None))
    model = op.load("cpu") if isinstance(op, ScoreOp) else None
    return Case(node.name, op, view.assemble(node.reads, some, read), load_uses(store, node), model)


def content(batch: pa.RecordBatch, uses: Mapping[str, Artifact]) -> str:
    """A hash of every byte that an operator was given."""
    checksum = hashlib.blake2b(digest_size=16)
    for column in batch.columns:
        for buffer in column.buffers():
            checksum.update(b"-" if buffer is None else memoryview(buffer))
    for name in sorted(uses):
        for key, array in sorted(uses[name].items()):
            checksum.update(f"{name}.{key}".encode() + np.asarray(array).tobytes())
    return checksum.hexdigest()
