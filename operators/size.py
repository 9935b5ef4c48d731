"""The size of each text in bytes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses


class Size(MapOp):
    """Adds `bytes`, the length of the text in UTF-8; a null has none, that is 0."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"bytes": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"bytes": pc.fill_null(pc.binary_length(batch.column("text")), 0).cast(pa.int64())}
