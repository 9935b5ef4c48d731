"""The size, the group and the name of every near-duplicate cluster."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import TEXT, Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.hash128 import hash_text
from operators.kernels.keep_order import first_of_each


class HoldoutSizes(ReduceOp):
    """Tells each document about its cluster: documents, least key, and that document's group.

    A part of `holdout`: reads its part `clusters`. The least key, unlike the least uid, stays the
    same when files are added or cut in another way.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    by: str | None = None
    """A column of group names; none: one group."""

    @property
    def reads(self) -> Reads:
        by = {self.by: TEXT} if self.by else {}
        return {"key": pa.uint64(), "/clusters.cluster": pa.int64(), **by}

    @property
    def adds(self) -> Adds:
        return {"size": pa.int64(), "lead": pa.uint64(), "group": pa.uint64()}

    @property
    def emits(self) -> Adds:
        return {"size": pa.int64(), "lead": pa.uint64(), "group": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        n = batch.num_rows
        group = hash_text(batch.column(self.by))[0] if self.by else np.zeros(n, np.uint64)
        payload = {
            "size": pa.array(np.ones(n, np.int64)),
            "lead": batch.column("key"),
            "group": pa.array(group.view(np.int64)),
        }
        return Emission(
            np.arange(n), np.asarray(batch.column("/clusters.cluster")).astype(np.uint64), payload
        )

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        key, group = np.asarray(messages.column("lead")), np.asarray(messages.column("group"))
        lead, leads_group = first_of_each(key, group, starts)
        size = np.add.reduceat(np.asarray(messages.column("size")), starts)
        return {"size": pa.array(size), "lead": pa.array(lead), "group": pa.array(leads_group)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        group = np.asarray(replies.column("group")).view(np.uint64)
        return {"size": replies.column("size"), "lead": replies.column("lead"), "group": pa.array(group)}
