"""Which documents BM25 chose, and what for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.lookup import at, places

_NUMBERS = {"rank": pa.int64(), "best_rank": pa.int64(), "score": pa.float64(), "query": pa.int64()}


class Bm25Choice(MapOp):
    """Shows the artifact `best` (`bm25_best`) as columns.

    The face of `bm25`, which says what they are.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    keep_rows: Annotated[int, Field(ge=0)] | None = None
    """How many documents stay; all that are in any list by default."""
    mark: bool = False
    """Drop nothing."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {**({} if self.mark else {"drop": DROP}), **_NUMBERS}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        best, uid = uses["best"], np.asarray(batch.column("uid"))
        place, listed = places(uid, best["uid"])
        values = {name: at(best[name], place) for name in _NUMBERS}
        chosen = listed if self.keep_rows is None else listed & (values["rank"] < self.keep_rows)
        out: dict[str, pa.Array] = {}
        if not self.mark:
            out["drop"] = drop_column(np.where(chosen, -1, 0), ["not_selected"])
        for name, kind in _NUMBERS.items():
            out[name] = pa.array(values[name], kind, mask=~(chosen if name == "rank" else listed))
        return out
