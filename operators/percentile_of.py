"""The percentile and rank of each row, from a histogram or from the rows that were counted."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Kind, MapOp, Reads, Uses
from operators.quantiles import number_column, percentiles


class PercentileOf(MapOp):
    """Adds `percentile` and `rank`; the face of `percentile`, which says what they are.

    Uses the artifact `quantiles` of the column; with `exact` it reads the parts `rank` and `equal` of the
    recipe, and of the histogram only how many rows there are.
    """

    # It needs the artifact of `quantiles`: the laws run it as a part of `percentile`.
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    column: str
    """The numeric column."""

    exact: bool = False
    """Whether rows were sorted."""

    @property
    def reads(self) -> Reads:
        if self.exact:
            return dict.fromkeys(("/rank.rank", "/rank.below", "/equal.rows"), pa.int64())
        return {self.column: Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {"percentile": pa.float32(), "rank": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        total = int(uses["quantiles"]["counts"].sum())
        if self.exact:
            rank, below, equal = (batch.column(name) for name in self.reads)
            share = (number_column(below) + number_column(equal) / 2) / max(total, 1)
            return {"percentile": _share(share), "rank": rank}
        values = number_column(batch.column(self.column))
        share = percentiles(uses["quantiles"], values, np.full(len(values), 0.5))
        unknown = np.isnan(share)
        rank = np.floor(np.where(unknown, 0.0, share) * total).astype(np.int64)
        top = max(total - 1, 0)
        return {
            "percentile": _share(share),
            "rank": pa.array(np.minimum(rank, top), pa.int64(), mask=unknown),
        }


def _share(share: np.ndarray) -> pa.Array:
    return pa.array(share.astype(np.float32), pa.float32(), mask=np.isnan(share))
