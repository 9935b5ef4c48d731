"""Turning JSONL, CSV and Arrow streams into Parquet, once, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError
from pipeline.files import filesystem, fingerprint, open_stream
from pipeline.footers import Inspected, inspect
from pipeline.ingest_csv import csv_blocks
from pipeline.ingest_json import json_blocks
from pipeline.listing import Found
from pipeline.shards import Part, Settings, decode_schema, encode_schema
from pipeline.store import Store, key_of
from pipeline.unify import merge, normal, to_type

VERSION = 1  # raised whenever the same file would give other rows
ROW_GROUP_BYTES, PART_BYTES = 64_000_000, 512_000_000


@dataclass(frozen=True)
class ConvertTask:
    """One file to convert; two files with the same content share the key, and so the result."""

    path: str
    name: str
    bytes: int
    format: str
    compression: str | None
    fingerprint: str
    delimiter: str
    settings: Settings
    key: str

    @classmethod
    def of(cls, file: Found, settings: Settings) -> ConvertTask:
        delimiter = "\t" if ".tsv" in file.path.lower()[-8:] else ","
        how = [file.format, file.compression, delimiter, settings.reading()]
        key = key_of("ingest", VERSION, file.fingerprint, how)
        return cls(
            file.path,
            file.name,
            file.bytes,
            file.format,
            file.compression,
            file.fingerprint,
            delimiter,
            settings,
            key,
        )


def converted(store: Store, task: ConvertTask) -> Inspected | None:
    """What a committed conversion has made of the file, or None."""
    record = store.record(f"ingest/{task.key}/done.json")
    if record is None:
        return None
    units = tuple((rows, size) for part in record["parts"] for rows, size in part["units"])
    parts = tuple(
        Part(store.path(f"ingest/{task.key}/{p['file']}"), p["footer"], len(p["units"]), p["rows"])
        for p in record["parts"]
    )
    return Inspected(decode_schema(record["schema"]), units, parts)


def convert(store: Store, task: ConvertTask) -> dict[str, Any]:
    """Convert a file unless that is done: {"rows", "parts", "bytes"}.

    Parts are named by their content and belong to nobody until `done.json` names them, so a retry
    or a second attempt at the same time is harmless. A column that first comes late in the file, or
    turns from integers into floats, begins another part; the schema of all parts is in `done.json`.

    Raises DataError with file:line for a line that is no JSON object, a row with too few or too many
    fields, invalid UTF-8, and a column whose type changes; and for a truncated or changed file.
    """
    record = f"ingest/{task.key}/done.json"
    if converted(store, task) is None:
        columns = Columns(task)
        parts = list(_parts(store, f"ingest/{task.key}", task.settings.text, _row_groups(columns)))
        _refuse_change(task)
        done = {
            "rows": sum(p["rows"] for p in parts),
            "parts": parts,
            "schema": encode_schema(columns.schema),
        }
        store.commit_record(record, done)
    done = store.record(record) or {}
    return {
        "rows": done["rows"],
        "parts": len(done["parts"]),
        "bytes": sum(p["bytes"] for p in done["parts"]),
    }


def peek(task: ConvertTask) -> pa.Schema:
    """The columns that the first block of a file has. Raises DataError as `convert`."""
    columns = Columns(task)
    for table in columns:
        if table.num_rows:
            break
    return columns.schema


class Columns:
    """The blocks of a file as tables; `schema` is what all blocks so far have in common."""

    def __init__(self, task: ConvertTask) -> None:
        self.task = task
        self.schema = pa.schema([])

    def __iter__(self) -> Iterator[pa.Table]:
        blocks = {"jsonl": json_blocks, "csv": csv_blocks, "arrow-stream": _stream_blocks}
        try:
            for table in blocks[self.task.format](self.task, lambda: self.schema):
                self.schema = _widened(self.schema, table.schema)
                yield _aligned(self.task, table, self.schema)
        except OSError as error:
            raise DataError(
                f"{self.task.path}: {error}; the file is damaged or incomplete: "
                f"fetch it again or leave it out"
            ) from error


def _widened(known: pa.Schema, new: pa.Schema) -> pa.Schema:
    """Both schemas in one. The readers of blocks have refused what does not merge."""
    types = {field.name: field.type for field in known}
    for field in new:
        both = merge(types.get(field.name, pa.null()), normal(field.type), widen=True)
        assert both is not None, f"{field.name}: {types[field.name]} and {field.type}"
        types[field.name] = both
    return pa.schema(list(types.items()))


def _aligned(task: ConvertTask, table: pa.Table, schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        if field.name not in table.column_names:
            arrays.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
            continue
        chunks = table[field.name].chunks
        try:
            arrays.append(pa.chunked_array([to_type(chunk, field.type) for chunk in chunks], field.type))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{task.path}: column {field.name!r} holds integers and floats, and {error}; say what it is "
                f"with `schema: {{{field.name}: <type>}}`"
            ) from error
    return pa.Table.from_arrays(arrays, schema=schema)


def _row_groups(blocks: Columns) -> Iterator[pa.Table]:
    """Blocks gathered into tables of about a row group, each with one schema."""
    waiting: list[pa.Table] = []
    size = 0
    for table in blocks:
        if waiting and (waiting[0].schema != table.schema or size + table.nbytes > ROW_GROUP_BYTES):
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
        if table.num_rows:
            waiting.append(table)
            size += table.nbytes
    if waiting:
        yield pa.concat_tables(waiting)


def _parts(store: Store, folder: str, text: str, groups: Iterator[pa.Table]) -> Iterator[dict[str, Any]]:
    """Parquet files of one schema and bounded size, each put into the store."""
    pending = next(groups, None)

    def write(path: str) -> None:
        nonlocal pending
        assert pending is not None
        schema, written = pending.schema, 0
        # A dictionary of texts would cost time and hide how big they are once they are read.
        short = [f.name for f in schema if f.name != text and not pa.types.is_nested(f.type)]
        with pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=3, use_dictionary=short
        ) as writer:
            while pending is not None and pending.schema == schema and written < PART_BYTES:
                writer.write_table(pending, row_group_size=max(1, pending.num_rows))
                written += pending.nbytes
                pending = next(groups, None)

    while pending is not None:
        record = store.put(folder, ".parquet", write)
        found = inspect(store.path(f"{folder}/{record['file']}"), "parquet")
        part = found.parts[0]
        yield record | {"rows": part.rows, "footer": part.footer, "units": [list(u) for u in found.units]}


def _refuse_change(task: ConvertTask) -> None:
    """A file that was rewritten while it was read must not be taken for the one in the inventory."""
    fs, inner = filesystem(task.path)
    fs.invalidate_cache()
    info = fs.info(inner)
    etag = info.get("ETag") or info.get("etag")
    now = fingerprint(task.path, info["size"], task.format, str(etag).strip('"') if etag else None)
    if now != task.fingerprint:
        raise DataError(f"{task.path} changed while it was read; run again when nobody writes to it")


def _stream_blocks(task: ConvertTask, known: Any) -> Iterator[pa.Table]:
    """Arrow IPC streams (what Hugging Face datasets write as .arrow)."""
    with open_stream(task.path, task.compression) as stream:
        if not task.bytes:
            return
        try:
            with pa.ipc.open_stream(stream) as reader:
                yield reader.schema.empty_table()
                for batch in reader:
                    yield from _slices(batch)
        except (pa.ArrowInvalid, EOFError) as error:
            raise DataError(f"{task.path}: not a readable Arrow stream: {error}; fetch it again") from error


def _slices(batch: pa.RecordBatch) -> Iterator[pa.Table]:
    step = max(1, batch.num_rows * ROW_GROUP_BYTES // max(1, batch.nbytes))
    for start in range(0, batch.num_rows, step):
        yield pa.Table.from_batches([batch.slice(start, step)])
