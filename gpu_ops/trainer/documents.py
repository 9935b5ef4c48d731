"""Reads the documents of an export folder: Parquet, Arrow and JSON lines, in name order."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
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
    """The folder's data files in name order, hidden files and other kinds left out; or the file itself."""
    if Path(folder).is_file():
        return [Path(folder)]
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no folder {folder!r} with documents")
    kinds = PARQUET + ARROW + JSONL
    paths = [
        path for path in Path(folder).iterdir() if path.name.endswith(kinds) and path.name[0] not in "._"
    ]
    if not paths:
        raise FileNotFoundError(f"{folder}: no data file; expected *{', *'.join(kinds)}")
    return sorted(paths, key=lambda path: path.name)


def documents(folder: str) -> Iterator[tuple[list[str], list[str]]]:
    """Batches of texts and their domains, in the order of files and rows."""
    for _, _, batch in columns(folder, ("text",)):
        yield strings(batch.column("text").cast(pa.large_string())), domains_of(batch)


def domains_of(batch: pa.RecordBatch) -> list[str]:
    """The rows' domains, NO_DOMAIN where there is none."""
    if "domain" not in batch.schema.names:
        return [NO_DOMAIN] * batch.num_rows
    domains = batch.column("domain").cast(pa.string()).to_pylist()
    return [NO_DOMAIN if domain is None else domain for domain in domains]


def columns(folder: str, names: Sequence[str]) -> Iterator[tuple[Path, int, pa.RecordBatch]]:
    """Batches of rows with these columns, and `domain` where there is one: (file, number of the first row
    in it, rows), in the order of files and rows. ValueError for a file that lacks a column."""
    wanted = tuple(dict.fromkeys([*names, "domain"]))
    for path in data_files(folder):
        first = 0
        for batch in _batches(path, wanted):
            for name in names:
                if name not in batch.schema.names:
                    raise ValueError(f"{path}: no column {name!r} among {batch.schema.names}")
            yield path, first, batch
            first += batch.num_rows


def _batches(path: Path, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    if path.name.endswith(PARQUET):
        file = pq.ParquetFile(path)
        there = [name for name in wanted if name in file.schema_arrow.names]
        yield from file.iter_batches(ROWS, columns=there or None)
    elif path.name.endswith(ARROW):
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i)
    else:
        yield from _json_batches(path, wanted)


def _json_batches(path: Path, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    with (
        pa.input_stream(str(path), compression="detect") as stream,
        io.TextIOWrapper(stream, "utf-8") as lines,
    ):
        for number, line in enumerate(lines, 1):
            try:
                value = json.loads(line)
                row = {name: value.get(name) for name in wanted}
                rows.append({**row, "text": value["text"]} if "text" in wanted else row)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                what = "a 'text'" if "text" in wanted else f"a {wanted[0]!r}"
                raise ValueError(f"{path}:{number}: no JSON object with {what}: {line[:80]!r}") from error
            if len(rows) == ROWS:
                yield _record_batch(path, rows)
                rows = []
    if rows:
        yield _record_batch(path, rows)


def _record_batch(path: Path, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    typed = {"text": pa.large_string(), "domain": pa.string()}
    try:
        arrays = {name: pa.array([row[name] for row in rows], typed.get(name)) for name in rows[0]}
    except pa.ArrowException as error:
        raise ValueError(f"{path}: the values of a column are of several types: {error}") from error
    return pa.RecordBatch.from_pydict(arrays)
