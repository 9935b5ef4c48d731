"""How many documents there are, in all and in each group."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses


class HoldoutTotals(ReduceOp):
    """Counts documents by the group of their cluster.

    A part of `holdout`: reads its part `sizes`. `total`: documents of the group; `every`: of all groups.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {"/sizes.group": pa.uint64()}

    @property
    def adds(self) -> Adds:
        return {"total": pa.int64(), "every": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"count": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        n = batch.num_rows
        key = np.zeros((n, 2), np.uint64)  # a row's two messages: its group, and everything
        key[:, 0] = np.asarray(batch.column("/sizes.group"))
        key2 = np.tile(np.array([1, 0], np.uint64), n)
        count = pa.array(np.ones(2 * n, np.int64))
        return Emission(np.repeat(np.arange(n), 2), key.reshape(-1), {"count": count}, key2)

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"count": pa.array(np.add.reduceat(np.asarray(messages.column("count")), starts))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        counts = np.asarray(replies.column("count")).reshape(-1, 2)
        return {"total": pa.array(counts[:, 0].copy()), "every": pa.array(counts[:, 1].copy())}
