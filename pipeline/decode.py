"""From the row groups of a file to the columns that operators see, with every fault named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError
from pipeline.footers import open_arrow, open_parquet
from pipeline.shards import Part, Settings, SourceFile
from pipeline.unify import seen_names, to_type

Offsets = npt.NDArray[np.int64]
SMALL_VALUES, SMALL_STEP = 256, 512


class Units(Protocol):
    """An open Parquet or Arrow file."""

    def rows(self, unit: int) -> int: ...
    def batches(self, unit: int, batch_rows: int, batch_bytes: int) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True)
class RowGroups:
    """A Parquet file and the columns that are wanted of it."""

    file: pq.ParquetFile
    columns: list[str]

    def rows(self, unit: int) -> int:
        return int(self.file.metadata.row_group(unit).num_rows)

    def batches(self, unit: int, batch_rows: int, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        size = self._value_bytes(unit)
        step = max(1, min(batch_rows, batch_bytes // max(1, size)))
        if size < SMALL_VALUES:
            # A dictionary can make big texts that repeat look small: decode fewer at once.
            step = min(step, SMALL_STEP)
        if not self.columns:
            return _blanks(self.rows(unit), step)
        return self.file.iter_batches(step, row_groups=[unit], columns=self.columns, use_threads=False)

    def _value_bytes(self, unit: int) -> int:
        """Average uncompressed bytes of a row in the wanted columns."""
        group = self.file.metadata.row_group(unit)
        chunks = (group.column(i) for i in range(group.num_columns))
        wanted = set(self.columns)
        size = sum(c.total_uncompressed_size for c in chunks if _top(c.path_in_schema, wanted))
        return int(size // max(1, group.num_rows))


def _top(path: str, wanted: set[str]) -> bool:
    """Whether a leaf belongs to a wanted column (whose name may have dots itself)."""
    return path in wanted or any(path.startswith(f"{name}.") for name in wanted)


class Batches:
    """An Arrow IPC file, opened with the wanted columns only."""

    def __init__(self, reader: pa.ipc.RecordBatchFileReader, columns: list[str]) -> None:
        self.reader, self.columns = reader, columns
        self.last: tuple[int, pa.RecordBatch] | None = None

    def _batch(self, unit: int) -> pa.RecordBatch:
        """Asked for its rows and then for itself: a compressed batch is unpacked once."""
        if self.last is None or self.last[0] != unit:
            self.last = None
            self.last = unit, self.reader.get_batch(unit)
        return self.last[1]

    def rows(self, unit: int) -> int:
        return int(self._batch(unit).num_rows)

    def batches(self, unit: int, batch_rows: int, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        batch = self._batch(unit)
        step = max(1, min(batch_rows, batch_bytes * batch.num_rows // max(1, batch.nbytes)))
        if not self.columns:
            yield from _blanks(batch.num_rows, step)
            return
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


def _blanks(rows: int, step: int) -> Iterator[pa.RecordBatch]:
    """Batches without columns, for columns that a file lacks."""
    for start in range(0, rows, step):
        yield pa.RecordBatch.from_struct_array(pa.array([{}] * min(step, rows - start), pa.struct([])))


@dataclass(frozen=True)
class View:
    """What is wanted of a file: `target` columns as operators see them.

    first_row: the row of the file where the piece begins, for messages.
    """

    file: SourceFile
    first_row: int
    target: pa.Schema
    settings: Settings

    @contextmanager
    def open(self, part: Part) -> Iterator[Units]:
        """Raises DataError when the file changed, is gone, truncated or damaged."""
        try:
            if self.file.format == "arrow":
                with open_arrow(part.path, part.footer, self._wanted) as reader:
                    yield Batches(reader, self._wanted(reader.schema.names))
            else:
                with open_parquet(part.path, part.footer) as file:
                    yield RowGroups(file, self._wanted(file.schema_arrow.names))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self._of(part)} cannot be read: {error}; {_REPAIR}") from error

    def _wanted(self, physical: Sequence[str]) -> list[str]:
        seen = seen_names(self.settings, physical)
        return list(dict.fromkeys(seen[name] for name in self.target.names if name in seen))

    def _of(self, part: Part) -> str:
        made = f" (converted from {self.file.path})" if part.path != self.file.path else ""
        return f"{part.path}{made}"

    def rows(self, part: Part, units: Units, unit: int) -> int:
        with self._named(part, unit):
            return units.rows(unit)

    def decoded(
        self, part: Part, units: Units, unit: int, batch_rows: int, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        """The batches of a row group; DataError names it when it is damaged."""
        with self._named(part, unit):
            yield from units.batches(unit, batch_rows, batch_bytes)

    @contextmanager
    def _named(self, part: Part, unit: int) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            kind = "record batch" if self.file.format == "arrow" else "row group"
            raise DataError(f"{self._of(part)}: {kind} {unit} is damaged: {error}; {_REPAIR}") from error

    def columns(self, batch: pa.RecordBatch, offsets: Offsets) -> pa.RecordBatch:
        """A decoded batch as target columns; offsets (n,) are its rows in the piece.

        Raises DataError for invalid UTF-8 and for values that cannot be cast, with file and row.
        """
        seen = seen_names(self.settings, batch.schema.names)
        arrays = []
        for field in self.target:
            if field.name not in seen:
                arrays.append(pa.nulls(batch.num_rows, field.type))
                continue
            try:
                array = to_type(batch.column(seen[field.name]), field.type)
                array.validate(full=True)
            except pa.ArrowException as error:
                raise self._fault(batch.column(seen[field.name]), field, offsets, error) from error
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, schema=self.target)

    def _fault(self, column: pa.Array, field: pa.Field, offsets: Offsets, error: Exception) -> DataError:
        row = next((i for i in range(len(column)) if not _good(column.slice(i, 1), field.type)), 0)
        place = f"{self.file.path}: row {self.first_row + int(offsets[row])}, column {field.name!r}"
        if "UTF8" in str(error):
            raw = to_type(column.slice(row, 1), field.type).view(pa.large_binary())[0].as_py()
            return DataError(
                f"{place}: invalid UTF-8 in {_near(raw)!r}; convert the file to UTF-8 or leave the row out"
            )
        return DataError(f"{place}: {error}; say another type for it with `schema:`")


_REPAIR = "fetch or write it again, or leave it out"


def _good(value: pa.Array, wanted: pa.DataType) -> bool:
    try:
        to_type(value, wanted).validate(full=True)
    except pa.ArrowException:
        return False
    return True


def _near(raw: bytes) -> bytes:
    """The bytes around the first one that is no UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return raw[max(0, error.start - 20) : error.start + 20]
    return raw[:40]
