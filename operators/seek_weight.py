"""By what weight a row may be sampled, and why some may not."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, Adds, Columns, Kind, MapOp, Reads, Uses, drop_column
from operators.quantiles import number_column

_BELOW = "/below.within"


class SeekWeight(MapOp):
    """Adds `weight` = score + smoothing, or max(score - reference, 0) + smoothing, null for rows that may
    not be sampled, and `why`: `no_score`, `too_high` (above the cap) or `suspect`; a part of
    `loss_importance` and `gradient_importance`. ValueError for a negative score without a reference."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    score: str
    """The numeric column."""
    reference: str | None = None
    """The numeric column that is subtracted."""
    suspect: str | None = None
    """The boolean column that is true for rows that may not be sampled."""
    capped: bool = False
    """Whether the part `below` says which rows lie below the cap."""
    smoothing: float = Field(0.0, ge=0)
    """What is added to every score."""

    @property
    def reads(self) -> Reads:
        extra: dict[str, pa.DataType | Kind] = {self.reference: Kind.NUMBER} if self.reference else {}
        extra |= {self.suspect: pa.bool_()} if self.suspect else {}
        extra |= {_BELOW: pa.bool_()} if self.capped else {}
        return {self.score: Kind.NUMBER, "uid": pa.int64(), **extra}

    @property
    def adds(self) -> Adds:
        return {"weight": pa.float64(), "why": DROP}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        score = number_column(batch.column(self.score))
        value = self._sought(batch, score)
        why = np.where(np.isfinite(value), -1, 0)
        if self.capped:
            below = batch.column(_BELOW).fill_null(True).to_numpy(zero_copy_only=False)
            why = np.where(below, why, 1)
        if self.suspect:
            suspect = batch.column(self.suspect).fill_null(False).to_numpy(zero_copy_only=False)
            why = np.where(suspect, 2, why)
        weight = pa.array(np.where(why < 0, value, 0.0) + self.smoothing, mask=why >= 0)
        return {"weight": weight, "why": drop_column(why, ["no_score", "too_high", "suspect"])}

    def _sought(self, batch: pa.RecordBatch, score: np.ndarray) -> np.ndarray:
        if self.reference:
            with np.errstate(invalid="ignore", over="ignore"):
                gap = score - number_column(batch.column(self.reference))
            return np.where(gap < 0, 0.0, gap)
        bad = score < 0
        if bad.any():
            row = int(np.argmax(bad))
            uid = batch.column("uid")[row].as_py()
            raise ValueError(
                f"{self.score} is {score[row]:g} at uid {uid}; a loss or a norm is >= 0. For the gap of two "
                f"losses name both: `score` and `reference` (see loss_gap)"
            )
        return score
