"""The cluster that each group gives to the hold-out in any case."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.eligible import draw


class HoldoutLeast(ReduceOp):
    """Finds the least draw among the clusters of each group that may be held out.

    A part of `holdout`: reads its parts `sizes` and `totals`. `least` is 2 where no cluster may be taken.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    split_seed: int = 0
    """Chooses the split."""
    largest: Annotated[float, Field(gt=0, le=1)] = 0.25
    """A cluster with a larger share of its group is not held out."""

    @property
    def reads(self) -> Reads:
        sizes = {"/sizes.size": pa.int64(), "/sizes.lead": pa.uint64(), "/sizes.group": pa.uint64()}
        return {**sizes, "/totals.total": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"least": pa.float64()}

    @property
    def emits(self) -> Adds:
        return {"least": pa.float64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        size, lead, group, total = (np.asarray(batch.column(name)) for name in self.reads)
        least = pa.array(draw(self.split_seed, lead, size, total, self.largest))
        return Emission(np.arange(batch.num_rows), group, {"least": least})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"least": pa.array(np.minimum.reduceat(np.asarray(messages.column("least")), starts))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        return {"least": replies.column("least")}
