"""The order in which documents are preferred, as one number."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, MapOp, Reads, Uses
from operators.kernels.keep_order import KEEP_PATTERN, keep_rank, keep_reads


class KeepRank(MapOp):
    """Ranks documents by how much one wants to keep them: lower is better, equal ranks go by uid."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": "longest"}, {"keep": "score:max"})

    keep: Annotated[str, Field(pattern=KEEP_PATTERN)] = "longest"
    """`first` (all equal), `longest` (most bytes of text), `column:max` or `column:min` of a number
    (nulls and NaN last)."""
    column: str = "text"
    """The text column whose length counts."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), **keep_reads(self.keep, self.column)}

    @property
    def adds(self) -> Adds:
        return {"rank": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"rank": pa.array(keep_rank(self.keep, self.column, batch))}
