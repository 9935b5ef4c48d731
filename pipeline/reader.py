"""Reading the rows of a shard, or single documents by uid, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.room import within
from pipeline.decode import Offsets, View
from pipeline.errors import ConfigError
from pipeline.shards import Manifest, Piece, Shard
from pipeline.suggest import did_you_mean

Rows = npt.NDArray[np.uint32]
Read = tuple[Rows, pa.RecordBatch]
BATCH_BYTES = 8_000_000  # decoded and used while the cache still holds it


def read_rows(
    manifest: Manifest,
    shard: Shard,
    columns: Sequence[str],
    rows: Rows | None,
    batch_rows: int,
    batch_bytes: int | None = None,
) -> Iterator[Read]:
    """(row numbers in the shard, their columns) in order.

    rows: (n,) uint32, ascending; None means all. A batch has at most `batch_rows` rows, fewer when
    rows are big: about `batch_bytes` (None: BATCH_BYTES, or what the memory budget has room for), at least
    one row. Only the row groups that hold wanted rows are
    read, only the columns asked for. Strings come as large_string and are valid UTF-8.

    Raises ConfigError for an unknown column; DataError, with file and row group or row, for a file
    that changed, is truncated or damaged, for invalid UTF-8 and for a value that `schema:` cannot cast.
    """
    schema = manifest.schemas[shard.source]
    for name in columns:
        if name not in schema.names:
            raise ConfigError(f"the source has no column {name!r}{did_you_mean(name, schema.names)}")
    wanted = np.arange(shard.rows, dtype=np.uint32) if rows is None else np.asarray(rows, dtype=np.uint32)
    if len(wanted) and int(wanted[-1]) >= shard.rows:
        raise IndexError(f"row {wanted[-1]} of shard {shard.index}, which has {shard.rows} rows")
    if not columns:
        yield from _numbers_only(wanted, batch_rows)
        return
    target = pa.schema([schema.field(name) for name in columns])
    batch_bytes = batch_bytes or within(BATCH_BYTES, 128)
    decoded = _shard(manifest, shard, target, wanted, batch_rows, batch_bytes)
    yield from _gathered(decoded, batch_rows, batch_bytes)


def _numbers_only(wanted: Rows, batch_rows: int) -> Iterator[Read]:
    for start in range(0, len(wanted), batch_rows):
        some = wanted[start : start + batch_rows]
        yield some, pa.RecordBatch.from_struct_array(pa.array([{}] * len(some), pa.struct([])))


def _shard(
    manifest: Manifest, shard: Shard, target: pa.Schema, wanted: Rows, batch_rows: int, batch_bytes: int
) -> Iterator[Read]:
    """The wanted rows of each piece, in the batches in which they are decoded."""
    start = 0
    for piece in shard.pieces:
        low, high = np.searchsorted(wanted, [start, start + piece.rows])
        if low < high:
            view = View(manifest.files[piece.file], piece.first_row, target, manifest.settings[shard.source])
            inside = wanted[low:high].astype(np.int64) - start
            for rows, batch in _piece(view, piece, inside, batch_rows, batch_bytes):
                yield (rows + start).astype(np.uint32), batch
        start += piece.rows


def _piece(
    view: View, piece: Piece, wanted: Offsets, batch_rows: int, batch_bytes: int
) -> Iterator[tuple[Offsets, pa.RecordBatch]]:
    """(offsets in the piece, columns) of the wanted offsets, (n,) int64 ascending."""
    start = first = 0
    for part in view.file.parts:
        numbers = [unit - first for unit in piece.units if first <= unit < first + part.units]
        first += part.units
        if not numbers or start > wanted[-1]:
            continue
        with view.open(part) as units:
            for number in numbers:
                stop = start + view.rows(part, units, number)
                low, high = np.searchsorted(wanted, [start, stop])
                if low < high:
                    batches = view.decoded(part, units, number, batch_rows, batch_bytes)
                    yield from _chosen(view, batches, start, wanted[low:high])
                start = stop


def _chosen(
    view: View, batches: Iterator[pa.RecordBatch], start: int, wanted: Offsets
) -> Iterator[tuple[Offsets, pa.RecordBatch]]:
    """The wanted offsets out of the batches of a unit that begins at offset `start`."""
    for batch in batches:
        low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
        inside = wanted[low:high]
        if len(inside):
            some = batch if len(inside) == batch.num_rows else batch.take(pa.array(inside - start))
            yield inside, view.columns(some, inside)
        start += batch.num_rows
        if start > wanted[-1]:
            return


def _gathered(batches: Iterator[Read], batch_rows: int, batch_bytes: int) -> Iterator[Read]:
    """Small batches joined, none above `batch_rows` rows, and above `batch_bytes` only a single one."""
    waiting: list[Read] = []
    count = size = 0
    for rows, batch in batches:
        if waiting and (count + len(rows) > batch_rows or size + batch.nbytes > batch_bytes):
            yield _joined(waiting)
            waiting, count, size = [], 0, 0
        waiting.append((rows, batch))
        count, size = count + len(rows), size + batch.nbytes
    if waiting:
        yield _joined(waiting)


def _joined(waiting: list[Read]) -> Read:
    if len(waiting) == 1:
        return waiting[0]
    return np.concatenate([rows for rows, _ in waiting]), pa.concat_batches([batch for _, batch in waiting])


def fetch(manifest: Manifest, uids: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Documents by uid, in the order asked for (a uid may come twice), with a `uid` column.

    Only the row groups that hold them are read. A column that a document's source lacks is null.
    Raises IndexError for a uid that there is not, ConfigError for a column that no source has.
    """
    known = list(dict.fromkeys(name for schema in manifest.schemas.values() for name in schema.names))
    for name in columns:
        if name not in known:
            raise ConfigError(f"the source has no column {name!r}{did_you_mean(name, known)}")
    wanted = np.unique(np.asarray(uids, dtype=np.int64))
    pieces = []
    for shard, rows in _by_shard(manifest, wanted):
        there = [name for name in columns if name in manifest.schemas[shard.source].names]
        for found, batch in read_rows(manifest, shard, there, rows, 1024):
            table = pa.Table.from_batches([batch]) if there else pa.table({})
            pieces.append(
                pa.table(
                    {"uid": found.astype(np.int64) + shard.base}
                    | dict(zip(there, table.columns, strict=True))
                )
            )
    if not pieces:
        types = {n: s.field(n).type for s in manifest.schemas.values() for n in columns if n in s.names}
        return pa.schema([("uid", pa.int64()), *((n, types[n]) for n in columns)]).empty_table()
    joined = pa.concat_tables(pieces, promote_options="permissive").select(["uid", *columns])
    return joined.take(pa.array(np.searchsorted(wanted, np.asarray(uids, dtype=np.int64))))


def _by_shard(manifest: Manifest, wanted: npt.NDArray[np.int64]) -> Iterator[tuple[Shard, Rows]]:
    """Each shard that holds wanted uids (ascending), with their rows there."""
    while len(wanted):
        shard, _ = manifest.locate(int(wanted[0]))
        inside = int(np.searchsorted(wanted, shard.base + shard.rows))
        yield shard, (wanted[:inside] - shard.base).astype(np.uint32)
        wanted = wanted[inside:]
