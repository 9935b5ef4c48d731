"""The bands of a document that another document shares."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Kind, Reads, ReduceOp, Uses
from operators.kernels.lists import cells, listed

_MANY = np.uint8(2)  # two or more documents have the key


class SharedBands(ReduceOp):
    """Counts band keys, one byte a key, so that signatures travel only for bands that two share.

    A part of `minhash_dedup`: reads its parts `signature` and `same`. `shared` lists the numbers of
    the bands whose key at least one other document has; twins and texts without words have none.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {
            "uid": pa.int64(),
            "/signature.bands": Kind.ANY,
            "/signature.shingles": pa.int32(),
            "/same.twin": pa.int64(),
        }

    @property
    def adds(self) -> Adds:
        return {"shared": pa.list_(pa.int16())}

    @property
    def emits(self) -> Adds:
        return {"many": pa.uint8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        single = batch.column("/same.twin").is_null().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(single & (np.asarray(batch.column("/signature.shingles")) > 0))
        keys = cells(batch.column("/signature.bands"), np.uint64)[rows]
        ones = pa.array(np.ones(keys.size, np.uint8))
        return Emission(np.repeat(rows, keys.shape[1]), keys.reshape(-1), {"many": ones})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        alone = np.diff(starts, append=messages.num_rows) == 1
        return {"many": pa.array(np.where(alone, np.asarray(messages.column("many"))[starts], _MANY))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row = np.asarray(replies.column("row"))
        counts = np.bincount(row, minlength=batch.num_rows)
        band = np.arange(len(row)) % max(1, counts.max(initial=0))  # a row asks for all bands or for none
        shared = np.asarray(replies.column("many")) == _MANY
        lengths = np.bincount(row[shared], minlength=batch.num_rows)
        return {"shared": listed(lengths, band[shared].astype(np.int16), pa.int16())}
