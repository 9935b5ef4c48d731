"""The documents of the clusters that are held out."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.eligible import draw


class HoldoutChoice(MapOp):
    """Takes the clusters whose draw is under the share, and the least draw of each group.

    The face of `holdout`: reads its parts `sizes`, `totals` and `least`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    share: Annotated[float, Field(gt=0, lt=1)] | None = 0.05
    """Expected share of the clusters."""
    docs: Annotated[int, Field(ge=1)] | None = None
    """Instead of `share`: expected number of documents."""
    split_seed: int = 0
    """Chooses the split."""
    largest: Annotated[float, Field(gt=0, le=1)] = 0.25
    """A cluster with a larger share of its group is not held out."""

    @property
    def reads(self) -> Reads:
        sizes = {"/sizes.size": pa.int64(), "/sizes.lead": pa.uint64()}
        return {
            **sizes,
            "/totals.total": pa.int64(),
            "/totals.every": pa.int64(),
            "/least.least": pa.float64(),
        }

    @property
    def adds(self) -> Adds:
        return {"drop": DROP}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        size, lead, total, every, least = (np.asarray(batch.column(name)) for name in self.reads)
        drawn = draw(self.split_seed, lead, size, total, self.largest)
        share = self.docs / np.maximum(every, 1) if self.docs else np.full(len(size), self.share)
        held = (drawn < 1) & ((drawn < share) | (drawn <= least))
        return {"drop": drop_column(np.where(held, 0, -1), ["holdout"])}
