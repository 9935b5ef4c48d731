"""How many rows have the same number."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Kind, Reads, ReduceOp, Uses
from operators.kernels.ordering import float64_order
from operators.quantiles import number_column


class EqualValues(ReduceOp):
    """Adds `rows`, the number of rows with this row's value (as float64; -0.0 equals 0.0), itself included;
    null where the value is null or NaN."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"column": "score"},)

    column: str
    """The numeric column."""

    @property
    def reads(self) -> Reads:
        return {self.column: Kind.NUMBER, "uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"rows": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"rows": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        values = number_column(batch.column(self.column))
        row = np.flatnonzero(~np.isnan(values))
        return Emission(row, float64_order(values[row]), {"rows": pa.array(np.ones(len(row), np.int64))})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"rows": pa.array(np.add.reduceat(np.asarray(messages.column("rows")), starts))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        rows, known = np.zeros(batch.num_rows, np.int64), np.zeros(batch.num_rows, bool)
        row = np.asarray(replies.column("row"))
        rows[row], known[row] = np.asarray(replies.column("rows")), True
        return {"rows": pa.array(rows, pa.int64(), mask=~known)}
