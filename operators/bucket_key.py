"""A loss as an integer that sorts the other way."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Kind, MapOp, Reads, Uses
from operators.kernels.ordering import float64_order
from operators.quantiles import number_column


class BucketKey(MapOp):
    """Adds `priority`: the larger the smaller the loss, null where the loss is null or NaN."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"loss": "score"},)

    loss: str
    """The numeric column."""

    @property
    def reads(self) -> Reads:
        return {self.loss: Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {"priority": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        loss = number_column(batch.column(self.loss))
        unknown = np.isnan(loss)
        order = ~float64_order(np.where(unknown, 0.0, loss))
        return {"priority": pa.array(order, pa.uint64(), mask=unknown)}
