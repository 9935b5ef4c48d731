"""Writing rows as Parquet, Arrow IPC or JSON Lines: the same rows give the same bytes, however cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import ConfigError, DataError
from pipeline.json_lines import JsonLinesWriter
from pipeline.suggest import did_you_mean

SUFFIXES = {
    "parquet": "parquet",
    "arrow": "arrow",
    "jsonl": "jsonl",
    "jsonl.gz": "jsonl.gz",
    "jsonl.zst": "jsonl.zst",
}
GROUP_BYTES, GROUP_ROWS = 64_000_000, 1 << 20
PIECE_ROWS = 1024  # that Parquet is given in one piece: it encodes so many at a time
Sink = str | IO[bytes]


class Writer(ABC):
    """Rows go in by `write`, in any batches; `close` ends the file. Also a context manager."""

    def __init__(self, schema: pa.Schema) -> None:
        self.given, self.schema = schema, plain_schema(schema)
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Raises DataError for text that is no UTF-8, ValueError for other columns than the schema's."""
        batch = batch.select(self.given.names)
        if batch.schema.types != self.given.types:
            raise ValueError(f"the file has columns {self.given}, the batch {batch.schema}")
        plain = [c.dictionary_decode() if isinstance(c, pa.DictionaryArray) else c for c in batch.columns]
        batch = pa.RecordBatch.from_arrays(plain, schema=self.schema)
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            raise _fault(batch, self.rows, error) from error
        self.take(batch)
        self.rows += batch.num_rows

    @abstractmethod
    def take(self, batch: pa.RecordBatch) -> None:
        """The rows to write, with the schema's columns, valid."""

    @abstractmethod
    def close(self) -> None:
        """What is buffered is written, and the file is complete."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Dictionaries as their values: each batch has its own, which must not enter the bytes."""
    return pa.schema(
        [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema]
    )


class TableWriter(Writer):
    """Row groups (record batches) of about 64 MB, whose ends depend on the rows alone."""

    def __init__(self, schema: pa.Schema, file: pq.ParquetWriter | pa.ipc.RecordBatchFileWriter) -> None:
        super().__init__(schema)
        self.file = file
        self.waiting: list[pa.RecordBatch] = []  # all of PIECE_ROWS rows but the last
        self.loose: list[pa.RecordBatch] = []  # rows of the next one
        self.bytes = self.count = 0

    def take(self, batch: pa.RecordBatch) -> None:
        for piece, full in self._cut(batch):
            if piece.num_rows:
                self.loose.append(piece)
            if self.count % PIECE_ROWS == 0:
                self._join()
            if full:
                self._flush()

    def _cut(self, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, bool]]:
        """The batch in pieces, none beyond PIECE_ROWS; whether a row group is full after each."""
        sizes = np.cumsum(row_bytes(batch), dtype=np.int64)
        start = 0
        while start < batch.num_rows:
            before = int(sizes[start - 1]) if start else 0
            stop = int(np.searchsorted(sizes, before + GROUP_BYTES - self.bytes)) + 1
            stop = min(stop, start + GROUP_ROWS - self.count, start + PIECE_ROWS - self.count % PIECE_ROWS)
            piece = batch.slice(start, stop - start)
            self.bytes += int(sizes[start + piece.num_rows - 1]) - before
            self.count += piece.num_rows
            yield piece, self.bytes >= GROUP_BYTES or self.count >= GROUP_ROWS
            start = stop

    def _join(self) -> None:
        """The loose rows in one piece: pages and buffers must not depend on how the rows came."""
        if self.loose:
            self.waiting.append(pa.concat_batches(self.loose))
            self.loose.clear()

    def _flush(self) -> None:
        self._join()
        if self.waiting:
            whole = pa.Table.from_batches(self.waiting, schema=self.schema)
            self.waiting.clear()  # not held twice while they are written
            if isinstance(self.file, pq.ParquetWriter):
                self.file.write_table(whole, row_group_size=whole.num_rows)
            else:
                whole = whole.combine_chunks()
                # A copy, for Arrow also writes what stands under nulls and behind the last row.
                rows = pa.array(np.arange(whole.num_rows))
                for batch in whole.to_batches():
                    self.file.write_batch(batch.take(rows))
        self.waiting, self.bytes, self.count = [], 0, 0

    def close(self) -> None:
        self._flush()
        self.file.close()


def row_bytes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """(rows,) about how many bytes each row holds: a function of its values only."""
    total = np.zeros(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        total += _value_bytes(column)
    return total


def _value_bytes(array: pa.Array) -> npt.NDArray[np.int64]:
    """(n,) bytes of each value: 8 and, for strings and lists, what they hold."""
    sizes = np.full(len(array), 8, dtype=np.int64)
    if pa.types.is_struct(array.type):
        for child in array.flatten():
            sizes += _value_bytes(child)
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        inside = np.concatenate([[0], np.cumsum(_value_bytes(array.flatten()))])
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lengths, dtype=np.int64)
        sizes += inside[ends] - inside[ends - lengths]
    elif pa.types.is_fixed_size_list(array.type) and pa.types.is_primitive(array.type.value_type):
        sizes += array.type.list_size * max(array.type.value_type.bit_width // 8, 1)
    elif _is_stringlike(array.type):
        lengths = pc.fill_null(pc.binary_length(array), 0)
        sizes += lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    return sizes


def _is_stringlike(dtype: pa.DataType) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(kind(dtype) for kind in kinds)


class LinesWriter(Writer):
    """JSON Lines, plain or compressed."""

    def __init__(self, schema: pa.Schema, sink: Sink, compression: str | None) -> None:
        super().__init__(schema)
        self.lines = JsonLinesWriter(sink, compression)

    def take(self, batch: pa.RecordBatch) -> None:
        self.lines.write(batch)

    def close(self) -> None:
        self.lines.close()


def open_writer(sink: Sink, format: str, schema: pa.Schema) -> Writer:
    """A file of one of the formats `SUFFIXES` names, at a local path or in an open binary file.

    parquet: zstd level 3, row groups of about 64 MB. arrow: IPC file format, not compressed, so that
    any reader can map it into memory. jsonl, jsonl.gz, jsonl.zst: see json_lines. No clock, host or
    thread enters the bytes. Raises ConfigError for another format.
    """
    if format == "parquet":
        plain = plain_schema(schema)
        short = [field.name for field in plain if field.name != "text" and not field.type.num_fields]
        file = pq.ParquetWriter(sink, plain, compression="zstd", compression_level=3, use_dictionary=short)
        return TableWriter(schema, file)
    if format == "arrow":
        return TableWriter(schema, pa.ipc.new_file(sink, plain_schema(schema)))
    if format not in SUFFIXES:
        raise ConfigError(f"{format!r} is no format to write{did_you_mean(format, SUFFIXES)}")
    return LinesWriter(schema, sink, {"jsonl.gz": "gzip", "jsonl.zst": "zstd"}.get(format))


def _fault(batch: pa.RecordBatch, rows: int, error: Exception) -> DataError:
    """Which row and column is not valid, with the document's uid or id where there is one."""
    for row in range(batch.num_rows):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column.slice(row, 1).validate(full=True)
            except pa.ArrowInvalid:
                return DataError(
                    f"row {rows + row} of the output{_named(batch, row)}: column {name!r} is not valid "
                    f"UTF-8; repair it in the source or drop the row"
                )
    return DataError(f"rows from {rows} of the output: {error}")


def _named(batch: pa.RecordBatch, row: int) -> str:
    def value(name: str) -> Any:
        return batch.column(name)[row].as_py()

    return "".join(f", {name} {value(name)}" for name in ("uid", "id") if name in batch.schema.names)
