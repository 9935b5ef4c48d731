"""The greedy decision in keep order over verified near duplicates."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, LoopOp, Part, Reads, Uses


class GreedyKeep(LoopOp):
    """A document goes if and only if an earlier kept one is its near duplicate.

    A part of `minhash_dedup`: reads its parts `verify`, `followed` and `rank`. Each round asks and
    settles (`greedy_ask`, `greedy_settle`). `status` is 1 kept or 2 gone.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    solve_up_to: Annotated[int, Field(ge=0)] = 65_536
    """Open edges that are gathered and solved at once, instead of in further rounds."""

    @property
    def reads(self) -> Reads:
        return {"last.settle.status": pa.int8()}

    @property
    def adds(self) -> Adds:
        return {"status": pa.int8()}

    def step(self, round: int) -> list[Part]:
        first = {"first": round == 0}
        return [
            Part("ask", "greedy_ask", first),
            Part("settle", "greedy_settle", {**first, "solve_up_to": self.solve_up_to}),
        ]

    def done(self, state: Artifact, round: int) -> bool:
        return int(state["undecided"][0]) == 0

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"status": batch.column("last.settle.status")}
