"""Rows sorted into an export's order by runs on disk, so that neither a shard nor a file is held whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.room import within
from pipeline.store import Store
from pipeline.writers import row_bytes

ORDER, UID = "__tamis_order", "__tamis_uid"  # beside the columns of a source, in scratch only
RUN_BYTES = 64_000_000  # of rows that a task sorts at once
CHUNK_BYTES, LEAST_CHUNK = 1 << 20, 1 << 14  # of a run that a merge holds
OUT_BYTES = 4_000_000  # of rows that a merge gives out at once: orders put the longest together

Ints = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


def chunk_bytes(total_bytes: int) -> int:
    """How much of a run is read at once, so that one chunk of every run stays a small part of the budget."""
    runs = max(1, total_bytes // within(RUN_BYTES, 8))
    return max(LEAST_CHUNK, min(CHUNK_BYTES, within(1 << 62, 16) // runs))


class Runs:
    """Takes rows as they come, and writes them as sorted runs whose chunks never straddle two files."""

    def __init__(self, store: Store, folder: str, bounds: Sequence[int], chunk: int) -> None:
        """bounds: file f holds the bins [bounds[f], bounds[f + 1]) of the order's upper 16 bits."""
        self.store, self.folder, self.bounds, self.chunk = store, folder, bounds, chunk
        self.written: list[dict[str, Any]] = []
        self.rows = 0
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0

    def add(self, batch: pa.RecordBatch, order: UInt64s, uid: Ints) -> None:
        self._held.append(batch.append_column(ORDER, pa.array(order)).append_column(UID, pa.array(uid)))
        self._bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._bytes >= within(RUN_BYTES, 8):
            self.end()

    def end(self) -> None:
        """Write what is held as a run: its file, and at which of its batches each file's begin."""
        if not self._held:
            return
        table = pa.Table.from_batches(self._held)
        self._held, self._bytes = [], 0
        batch = table.combine_chunks().to_batches()[0]
        del table
        order, uid = keys_of(batch)
        ranked = np.lexsort([uid, order])
        bins = (order[ranked] >> np.uint64(48)).astype(np.int64)
        ends = np.cumsum(row_bytes(batch)[ranked])
        cuts, firsts = cut_rows(np.searchsorted(bins, self.bounds), ends, self.chunk)
        chunks = (batch.take(pa.array(ranked[low:high])) for low, high in pairwise(cuts))
        record = self.store.put_batches(self.folder, batch.schema, chunks)
        self.written.append({"file": record["file"], "batches": firsts})


def cut_rows(files: Ints, ends: Ints, chunk: int) -> tuple[list[int], list[int]]:
    """Where the chunks of a run begin, and the end; which chunk is the first of each file, and their number.

    files: where each file's rows begin, and the end. ends: running sum of the rows' bytes."""
    cuts, firsts = [int(files[0])], []
    for low, high in pairwise(files.tolist()):
        firsts.append(len(cuts) - 1)
        while low < high:
            before = int(ends[low - 1]) if low else 0
            low = min(high, max(low + 1, int(np.searchsorted(ends, before + chunk, side="right"))))
            cuts.append(low)
    return cuts, [*firsts, len(cuts) - 1]


def keys_of(batch: pa.RecordBatch) -> tuple[UInt64s, Ints]:
    """(order, uid) of the rows."""
    order, uid = (batch.column(name).to_numpy(zero_copy_only=False) for name in (ORDER, UID))
    return order.astype(np.uint64, copy=False), uid.astype(np.int64, copy=False)


class Sorted:
    """One file's part of a run, of which a chunk is held."""

    def __init__(self, reader: pa.ipc.RecordBatchFileReader, at: int, stop: int) -> None:
        self._reader, self._next, self._stop = reader, at, stop
        self.load()

    def load(self) -> bool:
        """Hold the next chunk; whether there was one."""
        if self._next == self._stop:
            return False
        self._batch, self._at = self._reader.get_batch(self._next), 0
        self._order, self._uid = keys_of(self._batch)
        self._next += 1
        return True

    @property
    def whole(self) -> bool:
        """Whether nothing comes after what is held."""
        return self._next == self._stop

    @property
    def last(self) -> tuple[int, int]:
        return int(self._order[-1]), int(self._uid[-1])

    @property
    def empty(self) -> bool:
        return self._at == self._batch.num_rows

    def take(self, until: tuple[int, int] | None) -> pa.RecordBatch:
        """The held rows up to a key, or all of them."""
        stop = self._batch.num_rows
        if until is not None:
            order = np.uint64(until[0])
            low, high = (int(np.searchsorted(self._order, order, side=s)) for s in ("left", "right"))
            stop = low + int(np.searchsorted(self._uid[low:high], until[1], side="right"))
        start, self._at = self._at, max(stop, self._at)
        return self._batch.slice(start, self._at - start)


def merged(parts: list[Sorted]) -> Iterator[pa.RecordBatch]:
    """The rows of all parts in the order, without the keys: what no unread row can precede goes out."""
    while parts:
        until = min((part.last for part in parts if not part.whole), default=None)
        taken = [some for part in parts if (some := part.take(until)).num_rows]
        parts = [part for part in parts if not part.empty or part.load()]
        table = pa.concat_batches(taken)
        taken.clear()
        order, uid = keys_of(table)
        ranked = np.lexsort([uid, order])
        rows = table.drop_columns([ORDER, UID])
        del table, order, uid
        whole = np.array([0, len(ranked)])
        cuts, _ = cut_rows(whole, np.cumsum(row_bytes(rows)[ranked]), within(OUT_BYTES, 128))
        for low, high in pairwise(cuts):
            yield rows.take(pa.array(ranked[low:high]))
