"""The tasks that add a run's documents to an index: a file a shard, then band keys merged range by range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.kernels.band_lookup import cell_bits, cell_starts
from operators.kernels.lists import cells, flat
from operators.kernels.near_part import docs_schema, keys_schema, sketch_schema
from operators.kernels.shingles import Shingling, shingle_lists
from pipeline.manifest import Manifest
from pipeline.near_index import DATA
from pipeline.reader import BATCH_BYTES
from pipeline.store import Store
from pipeline.view import Alive, Column, Rows, ShardView

BATCH_ROWS, CHUNK_BYTES = 4096, 8 << 20
HEAD_CHARACTERS = 120
RANGE_BYTES = 64 << 20  # of band keys in a file
ENTRY_BYTES = 12
MOST_DOCUMENTS = 1 << 32  # an ordinal has 32 bits


@dataclass(frozen=True)
class Adding:
    """The context of all tasks of one addition.

    columns: `text`, `bands`, `signature`, `shingles` and, where documents supersede others,
    `superseded`. alive: whose documents are added. scratch: the folder in the index for what is not
    part of it. origin: what the documents' source is called. bases: the ordinal of each shard's first
    document, known once all shards are done."""

    store: Store
    index: Store
    manifest: Manifest
    alive: Alive
    columns: Mapping[str, Column]
    shingling: Shingling
    range_bits: int
    scratch: str
    origin: str
    bases: tuple[int, ...] = ()

    def source(self, view: ShardView) -> str:
        return f"{self.origin}/{view.shard.source}" if view.shard.source else self.origin

    def record(self, name: str | int) -> dict[str, Any] | None:
        return self.index.record(f"{self.scratch}/{name}.json")


def range_bits(entries: int) -> int:
    """The leading bits of a key that choose its file, so that a file has about RANGE_BYTES."""
    return max(0, (entries * ENTRY_BYTES - 1) // RANGE_BYTES).bit_length()


def index_shard(context: Adding, number: int) -> int:
    """Write one shard's documents, signatures and sorted band keys; how many documents it has."""
    known = context.record(number)
    if known is not None:
        return int(known["rows"])
    view = ShardView(context.store, context.manifest, number)
    rows = np.flatnonzero(view.alive(context.alive)).astype(np.uint32)
    rows = rows[np.asarray(view.values(context.columns["shingles"], rows)) > 0]
    signature = view.values(context.columns["signature"], rows)
    record: dict[str, Any] = {"rows": len(rows), "shard": view.shard.id, "source": context.source(view)}
    if len(rows):
        docs = context.index.put_batches(DATA, docs_schema(), _documents(context, view, rows))
        sketch = pa.record_batch([signature], schema=sketch_schema(signature.type.byte_width))
        flatter = context.index.put_batches(DATA, sketch.schema, iter([sketch]))
        record |= {"docs": docs["file"], "docs_bytes": docs["bytes"]}
        record |= {"sketch": flatter["file"], "sketch_bytes": flatter["bytes"]}
    keys = context.index.put_batches(context.scratch, _sorted_schema(), _sorted(context, view, rows))
    removes = _superseded(context, view, rows)
    context.index.commit_record(
        f"{context.scratch}/{number}.json", record | {"keys": keys["file"], "removes": removes}
    )
    return len(rows)


def _documents(context: Adding, view: ShardView, rows: Rows) -> Iterator[pa.RecordBatch]:
    """The documents in chunks of at most BATCH_ROWS rows and about CHUNK_BYTES. How they are cut is in
    the bytes of the index, so what is read at once must not depend on the memory budget."""
    columns = {"text": context.columns["text"]}
    named = "id" in context.manifest.schemas[view.shard.source].names
    wanted = view.source_columns(columns) | ({"id"} if named else set())
    for some, read in view.read(wanted, rows, BATCH_ROWS, BATCH_BYTES):
        text = view.assemble(columns, some, read).column("text")
        offsets, hashes = shingle_lists(text, context.shingling)
        sets = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes))
        ids = names_of(read.column("id") if named and read is not None else None, some, view)
        whole = pa.record_batch([ids, _heads(text), sets], schema=docs_schema())
        cuts = np.flatnonzero(np.diff(8 * offsets[:-1] // CHUNK_BYTES, prepend=0))
        for low, high in zip([0, *cuts], [*cuts, len(some)], strict=True):
            if low < high:
                yield _alone(whole, low, high)


def _alone(batch: pa.RecordBatch, low: int, high: int) -> pa.RecordBatch:
    """These rows with offsets that begin at 0."""
    return batch.take(pa.array(np.arange(low, high)))


def names_of(ids: pa.Array | None, rows: Rows, view: ShardView) -> pa.Array:
    """The documents' ids as strings; `uid:N`, the position in the source, where a document has none."""
    uids = pa.array(rows.astype(np.int64) + view.shard.base)
    places = pc.binary_join_element_wise(pa.scalar("uid:"), pc.cast(uids, pa.string()), "")
    named = pc.cast(places, pa.large_string())
    return named if ids is None else pc.coalesce(pc.cast(ids, pa.large_string()), named)


def _heads(text: pa.Array) -> pa.Array:
    """How each text begins; nothing where it is a list of tokens."""
    if not pa.types.is_large_string(text.type):
        return pa.array([""] * len(text), pa.large_string())
    return pc.fill_null(pc.utf8_slice_codeunits(text, 0, HEAD_CHARACTERS), "")


def _sorted_schema() -> pa.Schema:
    return pa.schema([("key", pa.uint64()), ("ordinal", pa.uint32())])


def _sorted(context: Adding, view: ShardView, rows: Rows) -> Iterator[pa.RecordBatch]:
    """The shard's band keys, ascending, a batch for each range of keys."""
    bands = cells(view.values(context.columns["bands"], rows), np.uint64)
    key, ordinal = bands.reshape(-1), np.repeat(np.arange(len(rows), dtype=np.uint32), bands.shape[1])
    order = np.argsort(key, kind="stable")
    key, ordinal = key[order], ordinal[order]
    bounds = np.searchsorted(key, _first_keys(context.range_bits))
    for low, high in zip(bounds, [*bounds[1:], len(key)], strict=True):
        yield pa.record_batch([key[low:high], ordinal[low:high]], schema=_sorted_schema())


def _first_keys(bits: int) -> npt.NDArray[np.uint64]:
    """The least key of each range."""
    return np.arange(2**bits, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.zeros(1, np.uint64)


def _superseded(context: Adding, view: ShardView, rows: Rows) -> str | None:
    """The file of the references of the indexed documents that this shard's documents replace."""
    column = context.columns.get("superseded")
    if column is None or not len(rows):
        return None
    references = np.unique(flat(view.values(column, rows))[1])
    if not len(references):
        return None
    return _references(context.index, context.scratch, references)["file"]


def _references(store: Store, folder: str, references: npt.NDArray[np.uint64]) -> dict[str, Any]:
    batch = pa.record_batch([references], names=["reference"])
    return store.put_batches(folder, batch.schema, iter([batch]))


def merge_keys(context: Adding, number: int) -> int:
    """Write one range of the band keys of all shards; how many there are."""
    known = context.record(f"range-{number}")
    if known is not None:
        return int(known["entries"])
    keys, ordinals = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
    for shard, base in enumerate(context.bases):
        record = context.record(shard)
        assert record is not None, f"shard {shard} has not been indexed"
        batch = context.index.open_arrow(f"{context.scratch}/{record['keys']}").get_batch(number)
        keys.append(np.asarray(batch.column("key")))
        ordinals.append((np.asarray(batch.column("ordinal")).astype(np.int64) + base).astype(np.uint32))
    key, ordinal = np.concatenate(keys), np.concatenate(ordinals)
    order = np.argsort(key, kind="stable")  # equal keys stay in the order of the documents
    key = key[order]
    arrays = (key, ordinal[order], cell_starts(key, context.range_bits, cell_bits(len(key))))
    schema = keys_schema()
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(a)], pa.int64()), pa.array(a)) for a in arrays]
    made = context.index.put_batches(DATA, schema, iter([pa.record_batch(lists, schema=schema)]))
    context.index.commit_record(f"{context.scratch}/range-{number}.json", made | {"entries": len(key)})
    return len(key)


def merge_removes(context: Adding, _: int) -> int:
    """Write which documents of other parts are superseded; how many these are."""
    known = context.record("removes")
    if known is not None:
        return int(known["rows"])
    found = [np.zeros(0, np.uint64)]
    for shard in range(len(context.bases)):
        record = context.record(shard)
        assert record is not None, f"shard {shard} has not been indexed"
        if record["removes"] is not None:
            reader = context.index.open_arrow(f"{context.scratch}/{record['removes']}")
            found.append(np.asarray(reader.get_batch(0).column("reference")))
    made = _references(context.index, DATA, np.unique(np.concatenate(found)))
    context.index.commit_record(f"{context.scratch}/removes.json", made)
    return int(made["rows"])
