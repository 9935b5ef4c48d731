"""Small source files, and the manifest over them, for the tests of the pipeline."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest import convert
from pipeline.manifest import Manifest, take_inventory
from pipeline.reader import read_rows
from pipeline.store import Store


@dataclass(frozen=True)
class Source:
    """The fields of a config's source that the manifest reads."""

    path: str | list[str]
    text: str = "text"
    id: str | None = None
    types: Mapping[str, str] | None = None
    format: str = "auto"
    shard_bytes: int | None = None


def write_parquet(path: Path, rows: pa.Table, group: int = 1 << 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for start in range(0, rows.num_rows, group):
            writer.write_table(rows.slice(start, group))


def write_arrow(path: Path, rows: pa.Table, batch: int = 1 << 20, stream: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, make(sink, rows.schema) as writer:
        for part in rows.to_batches(max_chunksize=batch):
            writer.write_batch(part)


def jsonl(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def write_bytes(path: Path, data: bytes) -> None:
    """The bytes, packed as the name's ending says."""
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    if path.suffix == ".zst":
        data = pa.compress(data, codec="zstd", asbytes=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def take(
    base: Path, sources: Source | Mapping[str, Source], previous: Manifest | None = None, store: str = ""
) -> Manifest:
    """The manifest over the sources, everything that needs it converted first."""
    named = {"": sources} if isinstance(sources, Source) else sources
    kept = Store(store or str(base / ".store"))
    for task in take_inventory(named, base, kept).to_convert:
        convert(kept, task)
    inventory = take_inventory(named, base, kept)
    assert not inventory.to_convert
    return inventory.manifest(kept, previous)


def read_all(
    manifest: Manifest, columns: Sequence[str], batch_rows: int = 4096
) -> list[tuple[int, dict[str, Any]]]:
    """(uid, row) of every document, in order."""
    found = []
    for shard in manifest.shards:
        for rows, batch in read_rows(manifest, shard, columns, None, batch_rows):
            uids = (rows.astype("int64") + shard.base).tolist()
            found += list(zip(uids, batch.to_pylist(), strict=True))
    return found


def rows(base: Path, name: str, **fields: Any) -> list[dict[str, Any]]:
    """What comes back of a file, all columns."""
    manifest = take(base, Source(name, **fields))
    return [row for _, row in read_all(manifest, manifest.schemas[""].names)]
