"""Writing the dropped documents out: which node took each, for what reason, on which evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.export import OWN, Export, _write, claim, finish, identity
from pipeline.manifest import Manifest
from pipeline.nodes import common_schema
from pipeline.store import key_of
from pipeline.view import Alive, ShardView

VERDICT = (("dropped_by", pa.string()), ("reason", pa.string()), ("evidence", pa.string()))


@dataclass(frozen=True)
class DroppedExport(Export):
    """The context of writing what did not survive to `alive`."""

    def schema(self) -> pa.Schema:
        source = common_schema(self.manifest)
        own = [("uid", pa.int64()), *VERDICT]
        fields = [pa.field(f"tamis_{n}" if n in source.names else n, t) for n, t in own]
        return pa.schema([*source, *fields])


def verdicts(view: ShardView, tree: Alive) -> dict[int, tuple[Alive, int]]:
    """Row -> the first node, from the source on, that took it out, and its place among the nodes."""
    found: dict[int, tuple[Alive, int]] = {}
    for number, drop in enumerate(tree.drops()):
        for row in np.flatnonzero(view.alive(drop.below[0]) & ~view.alive(drop)):
            found.setdefault(int(row), (drop, number))
    return found


def _rows(export: DroppedExport, index: int) -> Iterator[pa.RecordBatch]:
    view = ShardView(export.store, export.manifest, index)
    gone = view.alive(Alive("source", "*")) & ~view.alive(export.alive)
    found = verdicts(view, export.alive)
    names = common_schema(export.manifest).names
    rows = np.flatnonzero(gone).astype(np.uint32)
    for some, read in view.read(set(names), rows, 4096):
        assert read is not None
        why = [_why(view, found.get(int(row)), int(row)) for row in some]
        columns = [read.column(n) for n in names] + [pa.array(some.astype(np.int64) + view.shard.base)]
        columns += [pa.array([w[i] for w in why], dtype) for i, (_, dtype) in enumerate(VERDICT)]
        yield pa.RecordBatch.from_arrays(columns, schema=export.schema())


def _why(view: ShardView, verdict: tuple[Alive, int] | None, row: int) -> tuple[str, str, str]:
    if verdict is None:
        return "join", "not alive in every input", "{}"
    drop = verdict[0]
    return drop.name, *reason_of(view, drop, row)


def reason_of(view: ShardView, drop: Alive, row: int) -> tuple[str, str]:
    """(reason, evidence as JSON) of a row that a node dropped: its other columns are the evidence."""
    table = view.table(drop.key, drop.positional)
    at = int(np.searchsorted(np.asarray(table["row"].combine_chunks()), row))
    record = table.slice(at, 1).to_pylist()[0]
    reason = str(record.pop("drop"))
    record.pop("row")
    known: Mapping[str, Any] = {k: v for k, v in record.items() if v is not None}
    return reason, json.dumps(known, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def write_dropped(export: DroppedExport, index: int) -> dict[str, int]:
    """One shard's dropped rows as one file."""
    return _write(export, index, _rows(export, index))


def write(run: Any, engine: Any, node: str, path: str, format: str) -> dict[str, Any]:
    """All rows that are not alive after a node, as files in a folder."""
    manifest: Manifest = run.sources[""]
    written = "parquet" if format in OWN else format
    plain = DroppedExport(run.store, manifest, run.alive(node), path, written, None, {})
    export = replace(plain, key=key_of("dropped", identity(plain)))
    shards = range(len(manifest.shards))
    mark = claim(path, export.key, [export.file(i) for i in shards])
    if mark is None:
        files = {export.file(i): f for i, f in engine.run(write_dropped, export, shards)}
        mark = finish(path, export.key, files)
    return {"path": path, "rows": mark["rows"], "files": len(mark["files"])}
