"""How many labels the last round of spreading changed."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Artifact, Columns, FoldOp, Reads, Uses


class ClusterMoved(FoldOp):
    """Counts the documents whose label is new; none ends the loop of `near_clusters`."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    first: bool = True
    """Whether this is the first round, before which a document's label is its uid."""

    @property
    def reads(self) -> Reads:
        before = "uid" if self.first else "last.spread.label"
        return {"/spread.label": pa.int64(), before: pa.int64()}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 8

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        before = batch.column("uid" if self.first else "last.spread.label")
        moved = np.asarray(batch.column("/spread.label")) != np.asarray(before)
        return {"moved": np.array([moved.sum()], np.int64)}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"moved": a["moved"] + b["moved"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
