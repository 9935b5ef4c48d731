"""The best priority that a budget left out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.kernels.grouping import MAX_GROUPS, MAX_NAME_BYTES, group_codes, spread, together

_PRIORITY, _WITHIN = "/key.priority", "/cut.within"


class ImportanceThreshold(FoldOp):
    """Finds the largest priority among the rows that were not sampled; a part of `importance`.

    A sampled row's probability follows from it, as it would be the same had that row come first.
    Artifact, for G groups: `names` (G,), `priority` (G,) uint64, 0 where nobody was left out.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    group: str | None = None
    """The column whose every value had a budget of its own."""

    @property
    def reads(self) -> Reads:
        extra = {self.group: Kind.LABEL} if self.group else {}
        return {_PRIORITY: pa.uint64(), _WITHIN: pa.bool_(), **extra}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return (MAX_GROUPS if self.group else 1) * (8 + MAX_NAME_BYTES)

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        names, codes = group_codes(batch.column(self.group) if self.group else None, batch.num_rows)
        out = np.asarray(pc.fill_null(pc.invert(batch.column(_WITHIN)), False))
        highest = np.zeros(len(names), np.uint64)
        np.maximum.at(highest, codes[out], np.asarray(batch.column(_PRIORITY).fill_null(0))[out])
        return {"names": names, "priority": highest}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        names = together(a["names"], b["names"])
        one, other = spread(a, names), spread(b, names)
        return {"names": names, "priority": np.maximum(one["priority"], other["priority"])}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
