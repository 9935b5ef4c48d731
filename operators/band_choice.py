"""Which rows lie within a band, from the two percentiles that bound it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from operators.contract import DROP, Adds, Columns, MapOp, Reads, Uses, drop_column

_LOW, _HIGH = "/low.within", "/high.within"


class BandChoice(MapOp):
    """Drops rows as `too_low`, `too_high` or `no_score`; the face of `percentile_band`."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    missing: Literal["keep", "drop"] = "drop"
    """What becomes of rows without a score."""

    @property
    def reads(self) -> Reads:
        return {_LOW: pa.bool_(), _HIGH: pa.bool_()}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        low, high = (
            batch.column(name).fill_null(False).to_numpy(zero_copy_only=False) for name in (_LOW, _HIGH)
        )
        known = np.asarray(batch.column(_LOW).is_valid())
        reason = np.where(low, 0, np.where(high, -1, 1))
        reason = np.where(known, reason, 2 if self.missing == "drop" else -1)
        return {"drop": drop_column(reason, ["too_low", "too_high", "no_score"])}
