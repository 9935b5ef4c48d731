"""Running an operator over a batch: its promise checked, its failure located, its output committed."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from operators.contract import DROP, Adds, Columns
from pipeline.errors import ConfigError, DataError, ResourceError, TamisError
from pipeline.nodes import Node
from pipeline.view import Rows, ShardView, whole

QUARANTINE = "quarantine"
MOST_TRACEBACK = 4000  # characters of it that are kept for each row


def checked(columns: Columns, promised: Adds, rows: int, what: str) -> dict[str, pa.Array]:
    """The columns, if they are exactly the promised ones; ValueError says what differs."""
    if set(columns) != set(promised):
        raise ValueError(f"{what} gave the columns {sorted(columns)}, but promised {sorted(promised)}")
    for name, dtype in promised.items():
        array = columns[name]
        if not isinstance(array, pa.Array) or array.type != dtype or len(array) != rows:
            given = f"{array.type} x {len(array)}" if isinstance(array, pa.Array) else type(array).__name__
            raise ValueError(f"{what} gave {name} as {given}, but promised {dtype} x {rows}")
    return {name: columns[name] for name in promised}


@contextlib.contextmanager
def located(
    what: str, view: ShardView | None = None, rows: Rows | None = None, advice: str = ""
) -> Iterator[None]:
    """Failures of an operator say which node failed, on which rows, and what may help."""
    try:
        yield
    except TamisError:
        raise
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what} needs the package {error.name!r}, which is not installed; pip install 'tamis[all]'"
        ) from error
    except MemoryError as error:
        raise ResourceError(
            f"{what} ran out of memory; give each worker less (--memory 512MiB), or this node smaller "
            "batches (resources: {batch: 256})"
        ) from error
    except Exception as error:
        place = ""
        if view is not None and rows is not None and len(rows):
            last = f" to {view.place(int(rows[-1]))}" if len(rows) > 1 else ""
            place = f" on {view.place(int(rows[0]))}{last}"
        raise DataError(f"{what} failed{place}: {type(error).__name__}: {error}{advice}") from error


def run_columns(
    view: ShardView, node: Node, call: Callable[[pa.RecordBatch], Columns], rows: Rows, batch: pa.RecordBatch
) -> list[pa.RecordBatch]:
    """The node's columns for a batch. When the operator fails, the batch is halved down to the rows
    at fault: they are named, or set aside where the node says so."""
    columns, error = _tried(node, call, batch)
    if columns is None:
        if len(rows) > 1:
            half = len(rows) // 2
            first = run_columns(view, node, call, rows[:half], batch.slice(0, half))
            return first + run_columns(view, node, call, rows[half:], batch.slice(half))
        assert error is not None
        if not node.quarantine:
            by_row = node.shape in ("MapOp", "ScoreOp")
            advice = "; `on_error: quarantine` on the node sets such rows aside" if by_row else ""
            with located(f"{node.name} ({node.op})", view, rows, advice):
                raise error
        return [_set_aside(node, rows, error)]
    if node.quarantine:
        columns.setdefault("drop", pa.nulls(len(rows), DROP))
        columns[QUARANTINE] = pa.nulls(len(rows), pa.large_string())
    return [pa.RecordBatch.from_pydict({"row": pa.array(rows, pa.uint32()), **columns})]


def _tried(
    node: Node, call: Callable[[pa.RecordBatch], Columns], batch: pa.RecordBatch
) -> tuple[dict[str, pa.Array] | None, Exception | None]:
    try:
        return checked(call(batch), node.adds, batch.num_rows, "columns"), None
    except (TamisError, MemoryError):
        raise
    except Exception as error:
        return None, error


def _set_aside(node: Node, rows: Rows, error: Exception) -> pa.RecordBatch:
    columns = {name: pa.nulls(1, dtype) for name, dtype in node.adds.items()}
    columns["drop"] = pa.DictionaryArray.from_arrays(
        pa.array([0], pa.int8()), pa.array([QUARANTINE], pa.string())
    )
    text = "".join(traceback.format_exception(error))[-MOST_TRACEBACK:]
    columns[QUARANTINE] = pa.array([text], pa.large_string())
    return pa.RecordBatch.from_pydict({"row": pa.array(rows, pa.uint32()), **columns})


def with_nulls(node: Node, rows: Rows, parts: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The parts, and nulls for those of the rows that they lack, by row."""
    have = np.concatenate([np.empty(0, np.uint32), *(np.asarray(part.column("row")) for part in parts)])
    lacking = np.setdiff1d(rows, have, assume_unique=True)
    if not len(lacking):
        return parts
    types = {**node.adds, **({"drop": DROP, QUARANTINE: pa.large_string()} if node.quarantine else {})}
    nulls = {name: pa.nulls(len(lacking), dtype) for name, dtype in types.items()}
    rest = pa.RecordBatch.from_pydict({"row": pa.array(lacking, pa.uint32()), **nulls})
    table = pa.Table.from_batches([*parts, rest]).unify_dictionaries()
    return table.take(pa.array(np.argsort(np.concatenate([have, lacking])))).to_batches()


def commit(view: ShardView, node: Node, rows: Rows, parts: list[pa.RecordBatch]) -> int:
    """Commit a fragment, named by its first row; another attempt's stays if it was first, and only
    the rows that it lacks (another run may know of other rows) are committed beside it. Bytes written.

    Empties `parts`, as they may be as big as the shard's text."""
    folder = view.folder(node.key, node.positional)
    table = (pa.Table.from_batches(parts) if parts else _nothing(node)).unify_dictionaries()
    parts.clear()
    columns = {}
    for name in table.column_names:  # one by one, so that the table is never held twice
        columns[name] = whole(table[name])
        table = table.drop_columns([name])
    table = pa.table(columns)
    record = view.store.put_batches(folder, table.schema, iter(table.to_batches()))
    size, first = int(record["bytes"]), int(rows[0]) if len(rows) else 0
    record["first"], record["dropped"] = first, _reasons(table)
    won = view.store.commit_record(f"{folder}/{first:010d}.json", record)
    view.forget(node.key, node.positional)
    if won:
        return size
    left = np.flatnonzero(~view.covered(node.key, node.positional)[rows])
    if not len(left):
        return size
    return size + commit(view, node, rows[left], table.take(pa.array(left)).to_batches())


def _nothing(node: Node) -> pa.Table:
    types: Mapping[str, pa.DataType] = {"row": pa.uint32(), **node.adds}
    return pa.table({name: pa.array([], dtype) for name, dtype in types.items()})


def _reasons(table: pa.Table) -> dict[str, int]:
    if "drop" not in table.column_names or not table.num_rows:
        return {}
    drop = whole(table["drop"])
    codes = np.asarray(drop.indices.drop_null().to_numpy(zero_copy_only=False), dtype=np.int64)
    counts = np.bincount(codes, minlength=len(drop.dictionary))
    return {name: int(n) for name, n in zip(drop.dictionary.to_pylist(), counts, strict=True) if n}
