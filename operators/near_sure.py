"""What can be decided about near duplicates before all candidates are known."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, LoopOp, Part, Reads, Uses
from operators.kernels.asking import GONE

_ROUNDS = 6  # what is open then stays so: it is compared once more than it need be


class NearSure(LoopOp):
    """Finds documents that surely go, whatever a search that was cut has missed.

    A part of `minhash_dedup`: reads its parts `rank`, `same`, `near`, `followed` and `verify`. A
    document whose search was cut goes for a partner that surely stays, but never surely stays
    itself; nor does one that is near it and near nobody who surely stays.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    solve_up_to: Annotated[int, Field(ge=0)] = 65_536
    """Open edges that are gathered and solved at once, instead of in further rounds."""

    @property
    def reads(self) -> Reads:
        return {"last.settle.status": pa.int8()}

    @property
    def adds(self) -> Adds:
        return {"gone": pa.bool_()}

    def step(self, round: int) -> list[Part]:
        ask = [Part("ask", "greedy_ask", {"first": round == 1})] if round else []
        return [*ask, Part("settle", "greedy_settle", {"first": round == 0, "solve_up_to": self.solve_up_to})]

    def done(self, state: Artifact, round: int) -> bool:
        return int(state["undecided"][0]) == 0 or round == _ROUNDS

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"gone": pa.array(np.asarray(batch.column("last.settle.status")) == GONE)}
