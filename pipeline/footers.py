"""What the footers of Parquet and Arrow files say: columns, and units with rows and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError
from pipeline.files import MIB, Footer, is_remote, open_random
from pipeline.shards import Part


@dataclass(frozen=True)
class Inspected:
    """A file's columns and, for each row group or record batch, rows and uncompressed bytes."""

    schema: pa.Schema
    units: tuple[tuple[int, int], ...]
    parts: tuple[Part, ...]


def inspect(path: str, format: str) -> Inspected:
    """Raises DataError when the file is truncated, damaged or something else."""
    try:
        if format == "parquet":
            with open_parquet(path, None) as file:
                meta = file.metadata
                groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
                units = tuple((g.num_rows, g.total_byte_size) for g in groups)
                schema, footer = file.schema_arrow, _digest(path, arrow=False)
        else:
            with open_arrow(path, None) as reader:
                schema, footer = reader.schema, _digest(path, arrow=True)
                units = _batch_sizes(path, schema) if schema.names else ()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable {format} file: {error}; replace it or leave it out"
        ) from error
    rows = sum(rows for rows, _ in units)
    return Inspected(schema.remove_metadata(), units, (Part(path, footer, len(units), rows),))


def _digest(path: str, arrow: bool) -> str:
    with open_random(path) as file:
        return Footer(file, arrow).digest


@contextmanager
def open_parquet(path: str, expected: str | None) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose footer has the expected digest (None: any). Its footer is read once.

    Raises DataError when it has another one: the file changed. pa.ArrowInvalid or OSError when it
    cannot be read.
    """
    with open_random(path) as source:
        footer = Footer(source, arrow=False)
        _check(path, footer, expected)
        meta = pq.read_metadata(pa.BufferReader(b"PAR1" + footer.raw))
        # Remote: the column chunks of a row group in few requests. Local: pages as they are needed.
        remote = is_remote(path)
        yield pq.ParquetFile(source, metadata=meta, pre_buffer=remote, buffer_size=0 if remote else 4 * MIB)


@contextmanager
def open_arrow(
    path: str, expected: str | None, columns: Callable[[list[str]], list[str]] = list
) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """An Arrow IPC file, as open_parquet; only what `columns` chooses of the names is decoded."""
    with open_random(path, mapped=True) as source:
        _check(path, Footer(source, arrow=True), expected)
        names = pa.ipc.open_file(source).schema.names
        fields = [names.index(name) for name in columns(names)]
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields or [0])
        yield pa.ipc.open_file(source, options=options)


def _check(path: str, footer: Footer, expected: str | None) -> None:
    if expected is not None and footer.digest != expected:
        raise DataError(
            f"{path} changed since the manifest was made (its size or footer differs): put the old file "
            f"back, or start anew with `--accept-source`"
        )


def _batch_sizes(path: str, schema: pa.Schema) -> tuple[tuple[int, int], ...]:
    """Rows of each record batch, read with the cheapest column, and its share of the file's bytes."""
    with open_arrow(path, None, lambda names: [min(names, key=lambda n: _cost(schema.field(n).type))]) as few:
        rows = [few.get_batch(i).num_rows for i in range(few.num_record_batches)]
    with open_random(path) as file:
        size = file.size()
    return tuple((n, size * n // max(1, sum(rows))) for n in rows)


def _cost(dtype: pa.DataType) -> int:
    try:
        return int(dtype.bit_width)
    except ValueError:
        return 1 << 20
