"""The parts of a near-duplicate index as they lie on disk: memory-mapped, checked, looked up.

An index is a list of parts that never change. A part is a JSON record in `parts/` that names files in
`data/` by a hash of their content (see `pipeline/near_index.py`, which writes them):
  docs    a file for each shard of the source: id, head (the text's beginning), shingles (the exact set of
          64-bit n-gram hashes, ascending); in batches of a few MB
  sketch  beside each of them: the signature of every document, in one batch
  keys    2**range_bits files, one for each range of band keys: key, ascending; ordinal, the document's
          number in the part; cells, a directory of where keys with equal leading bits begin
A document is named by a reference: its part's tag in the upper 32 bits, its ordinal in the lower.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.band_lookup import find
from operators.kernels.lists import cells as fixed_cells

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

FORMAT = "tamis near-duplicate index 1"
DAMAGED = "the index is damaged; restore the file from a copy, or build the index anew with `tamis index add`"
_PAIRS = 1 << 22  # pairs of a document and a candidate that are looked at together


def docs_schema() -> pa.Schema:
    sets = pa.large_list(pa.uint64())
    return pa.schema([("id", pa.large_string()), ("head", pa.large_string()), ("shingles", sets)])


def sketch_schema(permutations: int) -> pa.Schema:
    return pa.schema([("signature", pa.binary(permutations))])


def keys_schema() -> pa.Schema:
    """One row, so that arrays of different lengths lie in one file."""
    names = {"key": pa.uint64(), "ordinal": pa.uint32(), "cells": pa.uint32()}
    return pa.schema([(name, pa.large_list(kind)) for name, kind in names.items()])


def open_arrow(path: str, size: int) -> pa.ipc.RecordBatchFileReader:
    """A memory-mapped Arrow file of `size` bytes; ValueError says what is wrong with it."""
    try:
        found = os.path.getsize(path)
    except OSError as error:
        raise ValueError(f"{path} is missing ({error.strerror}): {DAMAGED}") from error
    if found != size:
        raise ValueError(f"{path} has {found} bytes instead of {size}: {DAMAGED}")
    try:
        return pa.ipc.open_file(pa.memory_map(path))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read ({error}): {DAMAGED}") from error


@dataclass(frozen=True)
class Chunk:
    """Some documents: ids and heads (n,), their sets as offsets (n + 1,) int64 into hashes."""

    ids: pa.Array
    heads: pa.Array
    offsets: Int64s
    hashes: UInt64s


class Documents:
    """The documents of a part that come from one shard of a source."""

    def __init__(self, folder: str, record: dict[str, Any]) -> None:
        self.folder, self.record = folder, record
        self.rows, self.source = int(record["rows"]), str(record["source"])
        self._lock = threading.Lock()
        self._chunks: dict[int, Chunk] = {}

    @cached_property
    def signature(self) -> npt.NDArray[np.uint8]:
        """(rows, permutations)."""
        reader = open_arrow(f"{self.folder}/{self.record['sketch']}", self.record["sketch_bytes"])
        return fixed_cells(reader.get_batch(0).column("signature"), np.uint8)

    @cached_property
    def _reader(self) -> pa.ipc.RecordBatchFileReader:
        return open_arrow(f"{self.folder}/{self.record['docs']}", self.record["docs_bytes"])

    @cached_property
    def starts(self) -> Int64s:
        """(chunks + 1,) the row with which each chunk begins."""
        if not self.rows:
            return np.zeros(1, np.int64)
        with self._lock:
            sizes = [self._reader.get_batch(i).num_rows for i in range(self._reader.num_record_batches)]
        return np.cumsum([0, *sizes])

    def chunk(self, number: int) -> Chunk:
        """Its arrays stay on disk until they are read, so that keeping it costs nothing."""
        with self._lock:
            if number not in self._chunks:
                batch = self._reader.get_batch(number)
                sets = batch.column("shingles")
                offsets, hashes = np.asarray(sets.offsets), np.asarray(sets.values)
                if len(offsets) and (
                    offsets[0] < 0 or offsets[-1] > len(hashes) or (np.diff(offsets) < 0).any()
                ):
                    raise ValueError(
                        f"{self.folder}/{self.record['docs']} of the index is damaged: build it anew"
                    )
                self._chunks[number] = Chunk(batch.column("id"), batch.column("head"), offsets, hashes)
            return self._chunks[number]


@dataclass(frozen=True)
class Keys:
    """One range of a part's band keys."""

    key: UInt64s
    ordinal: npt.NDArray[np.uint32]
    cells: npt.NDArray[np.uint32]


class Part:
    """One part of an index, of which nothing is read before it is needed."""

    def __init__(self, path: str) -> None:
        try:
            self.record: dict[str, Any] = json.loads(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as a part of a near-duplicate index: {error}") from error
        if not isinstance(self.record, dict) or self.record.get("format") != FORMAT:
            raise ValueError(f"{path} is no part of a near-duplicate index of this version ({FORMAT!r})")
        self.name = Path(path).stem
        self.tag = part_tag(self.name)
        self.data = str(Path(path).parent.parent / "data")
        self.scheme = str(self.record["signing"]["scheme"])
        self.docs = [Documents(self.data, record) for record in self.record["docs"]]
        self.bases = np.cumsum([0, *(docs.rows for docs in self.docs)])
        self.range_bits = int(self.record["range_bits"])
        self._keys: dict[int, Keys] = {}

    @property
    def rows(self) -> int:
        return int(self.bases[-1])

    def keys(self, number: int) -> Keys:
        """The band keys whose first `range_bits` bits are this number."""
        if number not in self._keys:
            record = self.record["keys"][number]
            batch = open_arrow(f"{self.data}/{record['file']}", record["bytes"]).get_batch(0)
            arrays = (np.asarray(batch.column(name).values) for name in ("key", "ordinal", "cells"))
            self._keys[number] = Keys(*arrays)
        return self._keys[number]

    def removes(self) -> UInt64s:
        """References of the documents of other parts that this part supersedes, ascending."""
        record = self.record["removes"]
        if record is None:
            return np.zeros(0, np.uint64)
        batch = open_arrow(f"{self.data}/{record['file']}", record["bytes"]).get_batch(0)
        return np.asarray(batch.column("reference"))

    def hits(self, queries: UInt64s) -> Iterator[tuple[Int64s, Int64s]]:
        """(query, ordinal) of every entry whose key is one of the queries, some at a time."""
        where = queries >> np.uint64(64 - self.range_bits) if self.range_bits else np.zeros_like(queries)
        for number, own in groups(where.astype(np.int64)):
            keys = self.keys(number)
            first, counts = find(keys.key, keys.cells, self.range_bits, queries[own])
            ends = np.cumsum(counts)
            for low, high in pairwise(_slices(ends)):
                some, left = slice(low, high), counts[low:high].sum()
                place = np.repeat(
                    first[some] - ends[some] + counts[some] + ends[low] - counts[low], counts[some]
                )
                ordinal = keys.ordinal[place + np.arange(left)].astype(np.int64)
                if left and ordinal.max() >= self.rows:
                    raise ValueError(
                        f"band keys of part {self.name} in {self.data} are damaged: build it anew"
                    )
                yield np.repeat(own[some], counts[some]), ordinal


def part_tag(name: str) -> int:
    """The 32 bits of a part's name by which references name it."""
    return int(name[:8], 16)


def _slices(ends: Int64s) -> list[int]:
    """Where to cut so that a slice leads to about _PAIRS pairs; ends: (n,) the running sum of pairs."""
    total = int(ends[-1]) if len(ends) else 0
    inner = np.searchsorted(ends, np.arange(_PAIRS, total, _PAIRS), side="right")
    return np.unique([0, *inner, len(ends)]).tolist()


def groups(number: Int64s) -> Iterator[tuple[int, Int64s]]:
    """(number, its places) of each number that occurs."""
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    for at in np.split(order, starts[1:]) if len(order) else []:
        yield int(number[at[0]]), at
