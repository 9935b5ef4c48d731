"""The verdict of near deduplication: the greedy decision in keep order over verified near duplicates."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, Adds, Artifact, Columns, LoopOp, Part, Reads, Uses, drop_column
from operators.kernels.asking import GONE


class NearDecision(LoopOp):
    """A document goes if and only if an earlier kept one is its near duplicate, or it is the twin of
    one that goes or stays.

    The face of `minhash_dedup`: reads its parts `rank`, `signature`, `same`, `followed`, `verify`,
    `heard`, `reverify` and, if asked, `clusters`. The first round gathers all edges and solves them at
    once, if they are few enough (`greedy_settle`); else rounds of questions (`greedy_ask`) decide until
    they are.
    """

    version: ClassVar[int] = 3
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    solve_up_to: Annotated[int, Field(ge=0)] = 65_536
    """Open edges that are gathered and solved at once, instead of in further rounds."""
    clusters: bool = False
    """Whether the column `cluster` is added."""

    @property
    def reads(self) -> Reads:
        cluster = {"/clusters.cluster": pa.int64()} if self.clusters else {}
        known = {"status": pa.int8(), "kept": pa.int64(), "similarity": pa.float32()}
        settled = {f"last.settle.{name}": kind for name, kind in known.items()}
        return {**settled, "/signature.shingles": pa.int32(), **cluster}

    @property
    def adds(self) -> Adds:
        cluster = {"cluster": pa.int64()} if self.clusters else {}
        own = {"drop": DROP, "kept": pa.int64(), "similarity": pa.float32(), "shingles": pa.int32()}
        return {**own, **cluster}

    def step(self, round: int) -> list[Part]:
        ask = [Part("ask", "greedy_ask", {"first": round == 1, "again": True})] if round else []
        settle = {"first": round == 0, "solve_up_to": self.solve_up_to, "again": True}
        return [*ask, Part("settle", "greedy_settle", settle)]

    def done(self, state: Artifact, round: int) -> bool:
        return int(state["undecided"][0]) == 0

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        gone = np.asarray(batch.column("last.settle.status")) == GONE
        shingles = np.asarray(batch.column("/signature.shingles"))
        out = {
            "drop": drop_column(np.where(gone, 0, -1), ["near_duplicate"]),
            "kept": batch.column("last.settle.kept"),
            "similarity": batch.column("last.settle.similarity"),
            "shingles": pa.array(shingles, mask=shingles == 0),
        }
        return out | ({"cluster": batch.column("/clusters.cluster")} if self.clusters else {})
