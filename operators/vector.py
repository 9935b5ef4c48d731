"""Numeric columns packed into one column of vectors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, Kind, MapOp, Reads, Uses
from operators.quantiles import number_column


class Vector(MapOp):
    """Adds `embedding`, a list of the numbers of some columns, so that what works on embeddings (neighbours,
    clusters, selectors, classifiers) works on tables.

    A row with a null, NaN or infinity in one of the columns has no vector: null. Distances depend on units:
    `divide_by` brings columns to one scale (such as their standard deviations).
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"columns_of": ["score", "words"]},
        {"columns_of": ["words"], "divide_by": {"words": 2.5}},
    )

    columns_of: Annotated[tuple[str, ...], Field(min_length=1)]
    """The numeric columns, in the order of the vector's numbers."""
    divide_by: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Column -> by what its numbers are divided; 1 for others."""

    @property
    def reads(self) -> Reads:
        return dict.fromkeys(self.columns_of, Kind.NUMBER)

    @property
    def adds(self) -> Adds:
        return {"embedding": pa.list_(pa.float64())}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        scale = [self.divide_by.get(name, 1.0) for name in self.columns_of]
        numbers = np.stack([number_column(batch.column(name)) for name in self.columns_of], axis=1) / scale
        known = np.isfinite(numbers).all(axis=1)
        ends = np.concatenate([[0], np.cumsum(known * numbers.shape[1])]).astype(np.int32)
        values = pa.array(numbers[known].reshape(-1))
        return {"embedding": pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(~known))}
