"""How many bytes of text lie in each 65,536th part of the order: where an ordered export cuts its files."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Artifact, Columns, FoldOp, Reads, Uses

BINS = 65_536


class OrderBins(FoldOp):
    """The bytes of the documents by the top 16 bits of their order."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"order": "key", "bytes": "words"},)

    order: str
    """The column that orders the documents, uint64."""
    bytes: str = "bytes"
    """The column with each document's size."""

    @property
    def reads(self) -> Reads:
        return {self.order: pa.uint64(), self.bytes: pa.int64()}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 2 * 8 * BINS

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        order = batch.column(self.order).to_numpy(zero_copy_only=False).astype(np.uint64)
        size = batch.column(self.bytes).to_numpy(zero_copy_only=False).astype(np.int64)
        bins = (order >> np.uint64(48)).astype(np.int64)
        total = np.zeros(BINS, np.int64)
        np.add.at(total, bins, size)
        return {"bytes": total, "rows": np.bincount(bins, minlength=BINS).astype(np.int64)}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {name: a[name] + b[name] for name in ("bytes", "rows")}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return dict(state)

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
