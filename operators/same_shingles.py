"""Documents with one and the same shingle set: all but the first in keep order are its twins."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.keep_order import first_of_each


class SameShingles(ReduceOp):
    """Finds documents with Jaccard index 1 by the hash of their shingle sets, so that a family of
    equal documents sends one of them into the search for candidates.

    A part of `minhash_dedup`: reads its parts `signature` and `rank`. `twin` is the uid of the first
    in keep order, null for the first itself; `twinned` says that a first has twins.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {
            "uid": pa.int64(),
            "/rank.rank": pa.uint64(),
            "/signature.set_low": pa.uint64(),
            "/signature.set_high": pa.uint64(),
            "/signature.shingles": pa.int32(),
        }

    @property
    def adds(self) -> Adds:
        return {"twin": pa.int64(), "twinned": pa.bool_()}

    @property
    def emits(self) -> Adds:
        return {"rank": pa.uint64(), "first": pa.int64(), "many": pa.uint8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        rows = np.flatnonzero(np.asarray(batch.column("/signature.shingles")) > 0)
        low, high, rank, uid = (
            np.asarray(batch.column(name))[rows]
            for name in ("/signature.set_low", "/signature.set_high", "/rank.rank", "uid")
        )
        many = pa.array(np.ones(len(rows), np.uint8))
        return Emission(rows, low, {"rank": pa.array(rank), "first": pa.array(uid), "many": many}, high)

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        rank, uid = np.asarray(messages.column("rank")), np.asarray(messages.column("first"))
        best, first = first_of_each(rank, uid, starts)
        many = np.add.reduceat(np.asarray(messages.column("many")).astype(np.int64), starts)
        capped = np.minimum(many, 2).astype(np.uint8)
        return {"rank": pa.array(best), "first": pa.array(first), "many": pa.array(capped)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        uid, row = np.asarray(batch.column("uid")), np.asarray(replies.column("row"))
        first, many = uid.copy(), np.zeros(len(uid), np.uint8)
        first[row], many[row] = np.asarray(replies.column("first")), np.asarray(replies.column("many"))
        is_first = first == uid
        return {"twin": pa.array(first, mask=is_first), "twinned": pa.array(is_first & (many > 1))}
