"""Rows as JSON Lines: one object a line in UTF-8, plain, gzip or zstd."""

from __future__ import annotations

import base64
import gzip
import json
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

BUFFER_BYTES = 1 << 20


class JsonLinesWriter:
    """Writes batches as lines. Keys are in the order of the columns, null is `null`.

    Numbers keep their value; those that are not finite are written as `NaN`, `Infinity` and
    `-Infinity`, as Python's json, pyarrow and DuckDB write and read them: null would lose what they
    were. Dates, times and decimals become strings, binary values base64. gzip has no date in its
    header; compressed bytes do not depend on how the rows came.
    """

    def __init__(self, sink: str | IO[bytes], compression: str | None) -> None:
        self.owned = isinstance(sink, str)
        self.sink: Any = open(sink, "wb") if isinstance(sink, str) else sink  # noqa: SIM115
        self.file: Any = self.sink
        if compression == "gzip":
            self.file = gzip.GzipFile(filename="", mode="wb", fileobj=self.sink, compresslevel=6, mtime=0)
        elif compression == "zstd":
            # One frame: some readers stop after the first one. Arrow gives it the level zstd has by default.
            self.file = pa.CompressedOutputStream(_Unclosed(self.sink), "zstd")
        self.encode = json.JSONEncoder(
            ensure_ascii=False, separators=(",", ":"), default=_plain, check_circular=False
        ).encode
        self.waiting = bytearray()

    def write(self, batch: pa.RecordBatch) -> None:
        """Valid UTF-8 only; UnicodeDecodeError otherwise."""
        names = batch.schema.names
        columns = [_simple(column).to_pylist() for column in batch.columns]
        encode = self.encode
        lines = [encode(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
        if lines:
            lines.append("")
            self.waiting += "\n".join(lines).encode()
        whole = len(self.waiting) // BUFFER_BYTES * BUFFER_BYTES
        for start in range(0, whole, BUFFER_BYTES):
            self.file.write(bytes(self.waiting[start : start + BUFFER_BYTES]))
        del self.waiting[:whole]

    def close(self) -> None:
        self.file.write(bytes(self.waiting))
        self.waiting.clear()
        if self.file is not self.sink:
            self.file.close()
        if self.owned:
            self.sink.close()


class _Unclosed:
    """A file that stays open when the compressor that writes to it is closed."""

    def __init__(self, file: Any) -> None:
        self.file, self.closed = file, False

    def write(self, data: bytes) -> int:
        self.file.write(data)
        return len(data)

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.closed = True


def _simple(array: pa.Array) -> pa.Array:
    """A column whose Python values json knows, with strings for dates, times and decimals."""
    wanted = _json_type(array.type)
    return array if wanted == array.type else pc.cast(array, wanted)


def _json_type(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_duration(dtype):
        return pa.int64()
    if pa.types.is_temporal(dtype) or pa.types.is_decimal(dtype):
        return pa.string()
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_json_type(field.type)) for field in dtype])
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        return pa.large_list(_json_type(dtype.value_type))
    return dtype


def _plain(value: object) -> str:
    """Values inside lists and structs that JSON has no form for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
