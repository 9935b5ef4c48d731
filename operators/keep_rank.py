"""The order in which documents are preferred, as numbers."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, MapOp, Reads, Uses
from operators.kernels.keep_order import Keep, Prefer, keep_rank, keep_reads, keep_tier


class KeepRank(MapOp):
    """Ranks documents by how much one wants to keep them: the lower (`tier`, `rank`), the better; equal
    ones go by uid."""

    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep": "longest"},
        {"keep": "score:max", "prefer": {"domain": ("wiki", "код")}},
    )

    keep: Keep = "longest"
    """`first` (all equal), `longest` (most bytes of text), `column:max` or `column:min` of a number, a
    date or an ISO 8601 string (nulls and NaN last)."""
    prefer: Prefer = Field(default={})
    """String column -> its values, the best first; it decides before `keep` does."""
    column: str = "text"
    """The text column whose length counts."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), **keep_reads(self.keep, self.prefer, self.column)}

    @property
    def adds(self) -> Adds:
        return {"tier": pa.uint16(), "rank": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        rank = keep_rank(self.keep, self.column, batch)
        return {"tier": pa.array(keep_tier(self.prefer, batch)), "rank": pa.array(rank)}
