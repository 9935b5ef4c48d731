"""The face of a recipe whose columns its parts have made already."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, MapOp, Reads, Uses


class Renamed(MapOp):
    """Adds float32 columns of other nodes under names of its own. A part of recipes."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    columns_of: dict[str, str] = Field(default={})
    """Name -> the column that it shows."""

    @property
    def reads(self) -> Reads:
        return dict.fromkeys(self.columns_of.values(), pa.float32())

    @property
    def adds(self) -> Adds:
        return dict.fromkeys(self.columns_of, pa.float32())

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {name: batch.column(source) for name, source in self.columns_of.items()}
