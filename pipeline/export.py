"""Writing whole documents out: the kept rows, in the order that a curriculum gave them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from pipeline.errors import ConfigError, ResourceError
from pipeline.manifest import Manifest
from pipeline.nodes import common_schema
from pipeline.ordered import CHUNK_BYTES, Runs, Sorted, merged
from pipeline.packed import PACKED, Packer, Packing
from pipeline.store import REFUSED, SPACE, Store, key_of
from pipeline.view import Alive, Column, ShardView
from pipeline.writers import SUFFIXES, open_writer

MARK = "_tamis.json"
HALF = (".part-", f".{MARK}")  # how the names of files begin that have not taken their place yet
INDEX = "index"
OWN = {INDEX: ("uid", "file", "row"), PACKED: ("uid",)}  # columns of a row that the source does not give


@dataclass(frozen=True)
class Export:
    """The context of export tasks. bounds: file f holds the orders [bounds[f], bounds[f + 1]);
    empty when the rows stay in the source's order, a file a shard."""

    store: Store
    manifest: Manifest
    alive: Alive
    path: str
    format: str
    order: Column | None
    columns: Mapping[str, Column]
    bounds: tuple[int, ...] = ()
    size: int = 0
    key: str = field(default="")
    edits: tuple[Column, ...] = ()  # the cuts that the nodes above made in the text
    packing: Packing | None = None  # of the format packed
    chunk: int = CHUNK_BYTES  # of a sorted run that a merge holds: how, not what

    @property
    def scratch(self) -> str:
        return f"exports/{self.key}"

    def file(self, number: int) -> str:
        return f"part-{number:05d}.{SUFFIXES[self.file_format]}"

    @property
    def file_format(self) -> str:
        """The format of the files themselves."""
        return "parquet" if self.format in OWN else self.format

    def written(self) -> pa.Schema:
        """What the files hold: rows, or sequences of them."""
        return self.schema() if self.packing is None else self.packing.schema()

    def schema(self) -> pa.Schema:
        """What a row has."""
        if self.format == PACKED:
            return pa.schema([common_schema(self.manifest).field("text"), pa.field("uid", pa.int64())])
        fields = [] if self.format == INDEX else list(common_schema(self.manifest))
        if self.format == INDEX:
            fields = [pa.field("uid", pa.int64()), pa.field("file", pa.string()), pa.field("row", pa.int64())]
            if "id" in common_schema(self.manifest).names:
                fields.append(common_schema(self.manifest).field("id"))
        return pa.schema([*fields, *(pa.field(n, c.dtype) for n, c in self.columns.items())])


def identity(export: Export) -> str:
    """What the written bytes depend on."""
    order = export.order.identity() if export.order else ""
    columns = {name: column.identity() for name, column in export.columns.items()}
    return key_of(
        "export",
        export.alive.identity(),
        export.manifest.identity(),
        order,
        columns,
        export.format,
        export.size,
        [edit.identity() for edit in export.edits],
        *([] if export.packing is None else export.packing.identity()),
    )


def cut_files(sizes: np.ndarray, file_bytes: int) -> tuple[int, ...]:
    """Where files begin, in bins of the order, so that each holds about file_bytes: (files + 1,)."""
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    files = max(1, -(-total // file_bytes))
    inner = {int(np.searchsorted(ends, total * f // files)) + 1 for f in range(1, files)}
    return (0, *sorted(b for b in inner if b < len(sizes)), len(sizes))


def rows_of(export: Export, index: int) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """(uids, rows as they are written) of one shard's alive rows, in the source's order."""
    view = ShardView(export.store, export.manifest, index)
    rows = np.flatnonzero(view.alive(export.alive)).astype(np.uint32)
    schema = export.schema()
    own = OWN.get(export.format, ())
    names = {n for n in schema.names if n not in export.columns and n not in own}
    for some, read in view.read(names, rows, 4096):
        columns: dict[str, Any] = {} if read is None else {n: read.column(n) for n in names}
        if "text" in names:
            columns["text"] = view.edited(columns["text"], export.edits, some)
        columns |= {name: view.values(column, some) for name, column in export.columns.items()}
        uid = some.astype(np.int64) + view.shard.base
        if own:
            columns["uid"] = pa.array(uid)
        if export.format == INDEX:
            columns |= _places(view, some)
        yield uid, pa.RecordBatch.from_arrays([columns[n] for n in schema.names], schema=schema)


def _places(view: ShardView, rows: np.ndarray) -> dict[str, pa.Array]:
    """The file and the row in it of a shard's rows."""
    pieces = view.shard.pieces
    starts = np.cumsum([0] + [p.rows for p in pieces])
    piece = np.searchsorted(starts, rows, side="right") - 1
    first = np.array([p.first_row for p in pieces], np.int64)
    names = pa.array([view.manifest.files[p.file].path for p in pieces], pa.string())
    row = first[piece] + rows.astype(np.int64) - starts[piece]
    return {"file": names.take(pa.array(piece)), "row": pa.array(row)}


def write_shard(export: Export, index: int) -> dict[str, int]:
    """One shard's rows as one file, in the source's order; no file when nothing is kept."""
    return _write(export, index, (batch for _, batch in rows_of(export, index)))


def partition(export: Export, index: int) -> int:
    """One shard's rows sorted into the export's files, committed as scratch; rows."""
    name = f"{export.scratch}/runs-{index}.json"
    record = export.store.record(name)
    if record is not None:
        return int(record["rows"])
    view = ShardView(export.store, export.manifest, index)
    runs = Runs(export.store, export.scratch, export.bounds, export.chunk)
    assert export.order is not None
    for uid, batch in rows_of(export, index):
        order = view.values(export.order, (uid - view.shard.base).astype(np.uint32))
        runs.add(batch, order.to_numpy(zero_copy_only=False), uid)
    runs.end()
    export.store.commit_record(name, {"rows": runs.rows, "runs": runs.written})
    return runs.rows


def merge_file(export: Export, number: int) -> dict[str, int]:
    """One file of an ordered export, from every shard's part of it."""
    parts = []
    for index in range(len(export.manifest.shards)):
        record = export.store.record(f"{export.scratch}/runs-{index}.json")
        assert record is not None, f"shard {index} has not been partitioned"
        for run in record["runs"]:
            low, high = run["batches"][number : number + 2]
            if low < high:
                reader = export.store.open_arrow(f"{export.scratch}/{run['file']}", ranges=True, mapped=False)
                parts.append(Sorted(reader, low, high))
    return _write(export, number, merged(parts))


def _write(export: Export, number: int, batches: Iterator[pa.RecordBatch]) -> dict[str, int]:
    """A file of the export, put in its place when it is whole; no file for no rows."""
    counts: dict[str, int] = {}
    if export.packing is not None:
        packer = Packer(export.packing)
        batches, counts = packer.sequences(batches), packer.counts
    first = next(batches, None)
    if first is None:
        return {"rows": 0, "bytes": 0} | counts
    rows = first.num_rows
    name = export.file(number)
    with placed(export.path, name) as temporary:
        writer = open_writer(temporary, export.file_format, export.written())
        try:
            writer.write(first)
            for batch in batches:
                rows += batch.num_rows
                writer.write(batch)
        finally:
            writer.close()
        size = os.path.getsize(temporary)
    return {"rows": rows, "bytes": size} | counts


@contextlib.contextmanager
def placed(folder: str, name: str) -> Iterator[str]:
    """A temporary local file that takes its place in a folder or bucket in one step."""
    fs, root = fsspec.core.url_to_fs(folder)
    local = "://" not in folder
    where = root if local else tempfile.gettempdir()
    try:
        os.makedirs(where, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"{where} cannot be made: {error.strerror}; export to another folder") from error
    temporary = f"{where}/.{name}.{uuid.uuid4().hex}"
    try:
        yield temporary
        if local:
            os.replace(temporary, f"{root}/{name}")
        else:
            fs.put_file(temporary, f"{root}/{name}")
    except OSError as error:
        if error.errno in SPACE | REFUSED:
            raise ResourceError(
                f"cannot write {name} to {folder} ({os.strerror(error.errno or 0)}): free space there, make "
                "it writable or choose another path, and run again"
            ) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def there(path: str) -> tuple[list[str], dict[str, Any]]:
    """The names in an export's folder, and its mark."""
    fs, root = fsspec.core.url_to_fs(path)
    names = [str(n).rsplit("/", 1)[-1] for n in fs.ls(root, detail=False)] if fs.exists(root) else []
    return names, json.loads(fs.cat_file(f"{root}/{MARK}")) if MARK in names else {}


def check_ours(path: str) -> None:
    """Raises ConfigError when a folder holds files that no export of tamis wrote: they are never
    overwritten."""
    names, old = there(path)
    wrote = set(old.get("files", {}))
    foreign = [n for n in names if n not in wrote and n != MARK and not n.startswith(".")]
    if foreign:
        raise ConfigError(
            f"{path} holds {foreign[0]}, which tamis did not write; empty it or choose another folder"
        )


def claim(path: str, key: str, planned: Sequence[str]) -> dict[str, Any] | None:
    """Take a folder for an export: its finished mark when it already holds exactly this, else None.
    The mark names the planned files, so that a later run knows which are ours. Raises as `check_ours`."""
    names, old = there(path)
    wrote = set(old.get("files", {}))
    if old.get("key") == key and old.get("state") == "done" and wrote <= set(names):
        return old
    check_ours(path)
    _remove(path, [name for name in names if name in wrote or name.startswith(HALF)])
    files = {name: {"rows": 0, "bytes": 0} for name in planned}
    _mark(path, {"key": key, "state": "writing", "files": files})
    return None


def _remove(path: str, names: Sequence[str]) -> None:
    fs, root = fsspec.core.url_to_fs(path)
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # its writer lived, and has just put it in its place
            fs.rm_file(f"{root}/{name}")


def finish(path: str, key: str, files: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Mark an export as whole. What its files tell of themselves is summed up, also of those of no rows.
    What workers that died left half written goes."""
    _remove(path, [name for name in there(path)[0] if name.startswith(HALF)])
    written = {name: dict(f) for name, f in sorted(files.items()) if f["rows"]}
    names = dict.fromkeys(["rows", *(name for f in files.values() for name in f if name != "bytes")])
    totals = {name: sum(f.get(name, 0) for f in files.values()) for name in names}
    mark: dict[str, Any] = {"key": key, "state": "done", "files": written, **totals}
    _mark(path, mark)
    return mark


def _mark(path: str, mark: Mapping[str, Any]) -> None:
    with placed(path, MARK) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(mark, file, sort_keys=True, indent=1)


Run = Callable[[Callable[[Export, int], Any], Export, range], Iterator[tuple[int, Any]]]


def write_export(export: Export, run: Run) -> dict[str, Any]:
    """The whole export by tasks that `run` runs; nothing when the folder already holds it."""
    shards = range(len(export.manifest.shards))
    parts = shards if export.order is None else range(len(export.bounds) - 1)
    mark = claim(export.path, export.key, [export.file(i) for i in parts])
    if mark is not None:
        return mark
    if export.order is None:
        files = {export.file(i): f for i, f in run(write_shard, export, shards)}
    else:
        for _ in run(partition, export, shards):
            pass
        files = {export.file(i): f for i, f in run(merge_file, export, parts)}
        export.store.delete(export.scratch)
    return finish(export.path, export.key, files)
