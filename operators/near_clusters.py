"""Connected components of verified near duplicates."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from operators.contract import Adds, Artifact, Columns, LoopOp, Part, Reads, Uses


class NearClusters(LoopOp):
    """Names each document's component by its least uid, by label spreading with pointer jumping.

    A part of `minhash_dedup` and `holdout`: reads their parts `same`, `verify` and `followed`; a twin
    is joined to its first. The cluster is a name for a report or a hold-out; no decision to drop a
    duplicate uses it, because a chain of near duplicates joins documents that are not.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {"last.spread.label": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"cluster": pa.int64()}

    def step(self, round: int) -> list[Part]:
        first = {"first": round == 0}
        return [Part("spread", "cluster_spread", first), Part("moved", "cluster_moved", first)]

    def done(self, state: Artifact, round: int) -> bool:
        return int(state["moved"][0]) == 0

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"cluster": batch.column("last.spread.label")}
