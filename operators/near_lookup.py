"""The documents of an index that a document may be near to."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, IndexPaths, Kind, MapOp, Reads, Uses
from operators.kernels.lists import cells, listed
from operators.kernels.near_index import least_equal_bytes, open_index


class NearLookup(MapOp):
    """Looks the bands of a document up in near-duplicate indexes.

    A part of `minhash_dedup`: reads its part `signature`. `candidates` lists references of the indexed
    documents that share a band and whose signatures look near, all of them, in the order of the
    index; `found` says that there are some. An index holds documents that were kept, so its buckets
    are small.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    against: IndexPaths = ()
    """The parts of the indexes."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The Jaccard index from which two documents are near duplicates."""
    permutations: Annotated[int, Field(ge=4, le=1024)] = 128
    """Bytes in a signature."""

    @property
    def reads(self) -> Reads:
        return {
            "/signature.bands": Kind.ANY,
            "/signature.signature": pa.binary(self.permutations),
            "/signature.shingles": pa.int32(),
        }

    @property
    def adds(self) -> Adds:
        return {"candidates": pa.list_(pa.uint64()), "found": pa.bool_()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        row, reference = open_index(self.against or ()).candidates(
            cells(batch.column("/signature.bands"), np.uint64),
            cells(batch.column("/signature.signature"), np.uint8),
            np.flatnonzero(np.asarray(batch.column("/signature.shingles")) > 0),
            least_equal_bytes(self.threshold, self.permutations),
        )
        lengths = np.bincount(row, minlength=batch.num_rows)
        return {"candidates": listed(lengths, reference, pa.uint64()), "found": pa.array(lengths > 0)}
