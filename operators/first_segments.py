"""Where a segment occurs first."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.lists import flat, listed
from operators.kernels.twice import earliest


class FirstSegments(ReduceOp):
    """Finds the first occurrence of every segment, by the order of the documents and in them.

    A part of `substring_dedup`: reads its part `segments`. `uid` and `start` list for each segment the
    document and the first window of the first of all equal ones: its own, where it is that one.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        hashes = dict.fromkeys(("/segments.low", "/segments.high"), pa.list_(pa.uint64()))
        return {"uid": pa.int64(), **hashes, "/segments.start": pa.list_(pa.int32())}

    @property
    def adds(self) -> Adds:
        return {"uids": pa.list_(pa.int64()), "starts": pa.list_(pa.int32())}

    @property
    def emits(self) -> Adds:
        return {"first": pa.int64(), "start": pa.int32()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, low = flat(batch.column("/segments.low"))
        _, high = flat(batch.column("/segments.high"))
        _, start = flat(batch.column("/segments.start"))
        row = np.repeat(np.arange(batch.num_rows), lengths)
        first = np.asarray(batch.column("uid"))[row]
        return Emission(row, low, {"first": pa.array(first), "start": pa.array(start, pa.int32())}, high)

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return earliest(messages, starts)

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        lengths = np.bincount(np.asarray(replies.column("row")), minlength=batch.num_rows)
        first, start = (np.asarray(replies.column(name)) for name in ("first", "start"))
        return {"uids": listed(lengths, first, pa.int64()), "starts": listed(lengths, start, pa.int32())}
