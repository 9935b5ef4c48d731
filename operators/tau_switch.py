"""Weights that count only where they differ enough to be worth it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, Kind, MapOp, Reads, Uses
from operators.kernels.grouping import group_codes, places_of

_WEIGHT = "/eligible.weight"


class TauSwitch(MapOp):
    """Adds `weight`: that of the part `eligible`, or 1 for all rows that may be sampled where the tau of
    `effective_size` is below `min_tau` (Katharopoulos & Fleuret 2018, arXiv 1803.00942, algorithm 1)."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    min_tau: float = Field(ge=1)
    """The least tau for which weights count."""
    group: str | None = None
    """The column whose every value has a tau of its own."""

    @property
    def reads(self) -> Reads:
        return {_WEIGHT: pa.float64(), **({self.group: Kind.LABEL} if self.group else {})}

    @property
    def adds(self) -> Adds:
        return {"weight": pa.float64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        size, weight = uses["size"], batch.column(_WEIGHT)
        names, codes = group_codes(batch.column(self.group) if self.group else None, batch.num_rows)
        on = (size["tau"] >= self.min_tau)[places_of(names, size["names"])[codes]]
        values = weight.fill_null(0.0).to_numpy(zero_copy_only=False)
        mask = np.asarray(weight.is_null())
        return {"weight": pa.array(np.where(on, values, 1.0), mask=mask)}
