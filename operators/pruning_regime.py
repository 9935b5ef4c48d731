"""Whether there are many or few rows for each parameter, which decides between hard and easy rows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, FoldOp, Reads, Telling, Uses


class PruningRegime(FoldOp, Telling):
    """Counts the rows, and tells which side of the rule of `prune_prototypes` they are on. A part of it.

    Artifact: `rows` (1,) int64.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"keep": "hard"}, {"keep": "easy", "parameters": 20})

    keep: Literal["easy", "hard"]
    """Which rows are kept."""
    parameters: Annotated[int, Field(ge=1)] | None = None
    """Parameters of the model that learns from them."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 8

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        return {"rows": np.array([batch.num_rows], np.int64)}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"rows": a["rows"] + b["rows"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def tell(self, state: Artifact) -> str:
        rows = int(state["rows"][0])
        if self.parameters is None:
            return f"{rows:,} rows, the {self.keep} ones are kept; name `parameters` to see if that is right"
        each = rows / self.parameters
        better = "hard" if each >= 10 else "easy" if each <= 3 else None
        told = f"{rows:,} rows, {each:.3g} for each parameter: "
        if better is None:
            return told + f"between few and many; random rows may be as good as the {self.keep} ones"
        return told + (
            f"{'many' if better == 'hard' else 'few'}, so that {better} rows teach more"
            + ("" if better == self.keep else f"; but the {self.keep} ones are kept")
        )
