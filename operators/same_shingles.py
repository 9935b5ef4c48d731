"""Documents that are the same words in the same order: all but the first in keep order are its twins."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.keep_order import first_in_order

_MANY = np.uint8(2)  # two or more documents have the sequence


class SameShingles(ReduceOp):
    """Finds documents with equal sequences of words (or characters, or tokens) by their 128-bit hash, so
    that a family of equal documents sends one of them into the search for candidates.

    A part of `minhash_dedup`: reads its parts `signature` and `rank`. `twin` is the uid of the first
    in keep order, null for the first itself; `twinned` says that a first has twins.
    """

    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {
            "uid": pa.int64(),
            "/rank.tier": pa.uint16(),
            "/rank.rank": pa.uint64(),
            "/signature.same_low": pa.uint64(),
            "/signature.same_high": pa.uint64(),
            "/signature.shingles": pa.int32(),
        }

    @property
    def adds(self) -> Adds:
        return {"twin": pa.int64(), "twinned": pa.bool_()}

    @property
    def emits(self) -> Adds:
        return {"tier": pa.uint16(), "rank": pa.uint64(), "first": pa.int64(), "many": pa.uint8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        rows = np.flatnonzero(np.asarray(batch.column("/signature.shingles")) > 0)
        names = ("/signature.same_low", "/signature.same_high", "/rank.tier", "/rank.rank", "uid")
        low, high, *order = (np.asarray(batch.column(name))[rows] for name in names)
        payload = dict(zip(("tier", "rank", "first"), map(pa.array, order), strict=True))
        return Emission(rows, low, {**payload, "many": pa.array(np.ones(len(rows), np.uint8))}, high)

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        order = [np.asarray(messages.column(name)) for name in ("tier", "rank", "first")]
        tier, rank, first = (pa.array(best) for best in first_in_order(order[0], order[1], order[2], starts))
        alone = np.diff(starts, append=messages.num_rows) == 1
        many = np.where(alone, np.asarray(messages.column("many"))[starts], _MANY)
        return {"tier": tier, "rank": rank, "first": first, "many": pa.array(many)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        uid, row = np.asarray(batch.column("uid")), np.asarray(replies.column("row"))
        first, many = uid.copy(), np.zeros(len(uid), np.uint8)
        first[row], many[row] = np.asarray(replies.column("first")), np.asarray(replies.column("many"))
        is_first = first == uid
        return {"twin": pa.array(first, mask=is_first), "twinned": pa.array(is_first & (many == _MANY))}
