"""Reads the documents of an export folder: Parquet, Arrow and JSON lines, in name order."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_ops.kernels.tokens import strings

PARQUET, ARROW = (".parquet",), (".arrow", ".feather", ".ipc")
JSONL = (".jsonl", ".jsonl.zst", ".jsonl.gz")
NO_DOMAIN = "held-out"  # the domain of documents without a `domain` column
ROWS = 1024


def data_files(folder: str) -> list[Path]:
    """The folder's data files in name order; hidden files and other kinds are left out."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no folder {folder!r} with documents to train on")
    kinds = PARQUET + ARROW + JSONL
    paths = [
        path for path in Path(folder).iterdir() if path.name.endswith(kinds) and path.name[0] not in "._"
    ]
    if not paths:
        raise FileNotFoundError(f"{folder}: no data file; expected *{', *'.join(kinds)}")
    return sorted(paths, key=lambda path: path.name)


def documents(folder: str) -> Iterator[tuple[list[str], list[str]]]:
    """Batches of texts and their domains, in the order of files and rows."""
    for path in data_files(folder):
        for batch in _batches(path):
            if "text" not in batch.schema.names:
                raise ValueError(f"{path}: no column 'text' among {batch.schema.names}")
            texts = strings(batch.column("text").cast(pa.large_string()))
            if "domain" in batch.schema.names:
                domains = batch.column("domain").cast(pa.string()).to_pylist()
            else:
                domains = [None] * len(texts)
            yield texts, [NO_DOMAIN if domain is None else domain for domain in domains]


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.name.endswith(PARQUET):
        file = pq.ParquetFile(path)
        wanted = [name for name in ("text", "domain") if name in file.schema_arrow.names]
        yield from file.iter_batches(ROWS, columns=wanted or None)
    elif path.name.endswith(ARROW):
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i)
    else:
        yield from _json_batches(path)


def _json_batches(path: Path) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    with (
        pa.input_stream(str(path), compression="detect") as stream,
        io.TextIOWrapper(stream, "utf-8") as lines,
    ):
        for number, line in enumerate(lines, 1):
            try:
                value = json.loads(line)
                rows.append({"text": value["text"], "domain": value.get("domain")})
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}:{number}: no JSON object with a 'text': {line[:80]!r}") from error
            if len(rows) == ROWS:
                yield _record_batch(rows)
                rows = []
    if rows:
        yield _record_batch(rows)


def _record_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    schema = pa.schema([("text", pa.large_string()), ("domain", pa.string())])
    return pa.RecordBatch.from_pylist(rows, schema=schema)
