"""The bands of a document in which somebody has to look for candidates once more."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Kind, Reads, ReduceOp, Uses
from operators.kernels.lists import cells, flat, listed


class AskedBands(ReduceOp):
    """Tells the documents that are not surely gone in which of their buckets there is one of them whose
    search for candidates was cut, one byte a key, so that only there signatures travel again.

    A part of `minhash_dedup`: reads its parts `signature`, `shared`, `near` and `sure`. `asked` stands
    beside the numbers in `shared`; it is empty for documents that are gone.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {
            "/signature.bands": Kind.ANY,
            "/shared.shared": pa.list_(pa.int16()),
            "/near.cut": pa.bool_(),
            "/sure.gone": pa.bool_(),
        }

    @property
    def adds(self) -> Adds:
        return {"asked": pa.list_(pa.bool_())}

    @property
    def emits(self) -> Adds:
        return {"cut": pa.uint8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, band = flat(batch.column("/shared.shared"))
        cut, gone = (
            batch.column(name).to_numpy(zero_copy_only=False) for name in ("/near.cut", "/sure.gone")
        )
        there = np.repeat(~gone, lengths)
        row, band = np.repeat(np.arange(batch.num_rows), lengths)[there], band[there]
        keys = cells(batch.column("/signature.bands"), np.uint64)[row, band]
        return Emission(row, keys, {"cut": pa.array(cut[row].astype(np.uint8))})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"cut": pa.array(np.maximum.reduceat(np.asarray(messages.column("cut")), starts))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        lengths = np.bincount(np.asarray(replies.column("row")), minlength=batch.num_rows)
        return {"asked": listed(lengths, np.asarray(replies.column("cut")) > 0, pa.bool_())}
