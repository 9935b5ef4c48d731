"""The difference of two losses that other parts of a recipe have made."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import Adds, Columns, MapOp, Reads, Uses

_LEARNER, _REFERENCE = "/learner.loss_per_byte", "/reference.loss_per_byte"


class LossDifference(MapOp):
    """Adds `gap` = `learner` - `reference`, and both, in nats per byte. A part of `loss_gap`."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {_LEARNER: pa.float32(), _REFERENCE: pa.float32()}

    @property
    def adds(self) -> Adds:
        return dict.fromkeys(("gap", "learner", "reference"), pa.float32())

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        learner, reference = batch.column(_LEARNER), batch.column(_REFERENCE)
        return {"gap": pc.subtract(learner, reference), "learner": learner, "reference": reference}
