"""Scores a batch as the engines do."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from operators.contract import Columns, ScoreOp


def scored(op: ScoreOp, batch: pa.RecordBatch, model: Any) -> Columns:
    """The columns of a batch, prepared and then computed."""
    return op.columns(op.prepare(batch, model), model)
