"""The least and the greatest finite value of a numeric column."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.quantiles import number_column


class ScoreSpan(FoldOp):
    """Finds the least and the greatest finite value of a column.

    Artifact: `least`, `most` (1,) float64; inf and -inf where no value is finite.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"column": "score"},)

    column: str
    """The numeric column."""

    @property
    def reads(self) -> Reads:
        return {self.column: Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 16

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        values = number_column(batch.column(self.column))
        values = values[np.isfinite(values)] + 0.0  # no -0.0, which min and max may take for 0.0
        least, most = values.min(initial=np.inf), values.max(initial=-np.inf)
        return {"least": np.array([least]), "most": np.array([most])}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"least": np.minimum(a["least"], b["least"]), "most": np.maximum(a["most"], b["most"])}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
