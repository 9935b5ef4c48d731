"""Drops texts that are too short or too long."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators.contract import DROP, TEXT, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.text_buffers import text_buffers
from operators.kernels.words import count_words


class LengthFilter(MapOp):
    """Keeps the texts whose length lies within bounds, both included.

    Adds `length` and drops with the reasons `too_short` and `too_long`. A null counts as an empty
    text. Invalid UTF-8 never fails: characters are then the bytes that continue no sequence.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"min": 10},
        {"unit": "characters", "min": 3, "max": 1000},
        {"unit": "words", "max": 50},
    )

    unit: Literal["bytes", "characters", "words"] = "bytes"
    """What is counted: bytes of UTF-8, Unicode code points, or runs without Unicode white space."""

    min: int | None = Field(None, ge=0)
    """The smallest length that stays; no lower bound when it is not given."""

    max: int | None = Field(None, ge=0)
    """The largest length that stays; no upper bound when it is not given."""

    @model_validator(mode="after")
    def _bounds(self) -> LengthFilter:
        if self.min is None and self.max is None:
            raise ValueError("length_filter needs min or max; without both it drops nothing")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"length_filter: min {self.min} is above max {self.max}: nothing would stay")
        return self

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "length": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        length = self._lengths(batch.column("text"))
        reasons = np.full(len(length), -1, np.int8)
        if self.min is not None:
            reasons[length < self.min] = 0
        if self.max is not None:
            reasons[length > self.max] = 1
        return {
            "drop": drop_column(reasons, ["too_short", "too_long"]),
            "length": pa.array(length, pa.int64()),
        }

    def _lengths(self, texts: pa.Array) -> np.ndarray:
        if self.unit == "words":
            return count_words(*text_buffers(texts))
        count = pc.binary_length if self.unit == "bytes" else pc.utf8_length
        return pc.fill_null(count(texts), 0).to_numpy(zero_copy_only=False)
