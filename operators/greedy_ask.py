"""What has become of the near duplicates before a document: one round of the greedy decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ShuffleOp, Uses
from operators.kernels.asking import KEPT, UNDECIDED, answer, ask
from operators.kernels.lists import flat, listed


class GreedyAsk(ShuffleOp):
    """Every undecided document asks its earlier near duplicates for their status.

    A part of `greedy_keep`: reads `verify` and `followed` of the recipe around it. `beaten`: one of
    them is kept. `open`: those that are undecided themselves.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    order: ClassVar[tuple[str, ...]] = ("side",)

    first: bool = True
    """Whether this is the first round, in which documents without edges are known to stay."""

    @property
    def reads(self) -> Reads:
        own = {} if self.first else {"last.settle.status": pa.int8()}
        lists = {"/verify.edges": pa.list_(pa.int64()), "/followed.followed": pa.bool_()}
        return {"uid": pa.int64(), **lists, **own}

    @property
    def adds(self) -> Adds:
        return {"beaten": pa.bool_(), "open": pa.list_(pa.int64())}

    @property
    def emits(self) -> Adds:
        return {"side": pa.uint8(), "status": pa.int8()}

    @property
    def replies(self) -> Adds:
        return {"partner": pa.int64(), "side": pa.uint8(), "status": pa.int8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, edges = flat(batch.column("/verify.edges"))
        if self.first:
            status = np.where(lengths == 0, KEPT, UNDECIDED).astype(np.int8)
        else:
            status = np.asarray(batch.column("last.settle.status"))
        row, key, side = ask(
            np.asarray(batch.column("uid")),
            batch.column("/followed.followed").to_numpy(zero_copy_only=False),
            lengths,
            edges,
            status == UNDECIDED,
        )
        return Emission(row, key, {"side": pa.array(side), "status": pa.array(status[row])})

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        carry = np.zeros(1, np.int8)
        for batch in messages:
            side = np.asarray(batch.column("side"))
            status = answer(side, np.asarray(batch.column("status")), carry)
            partner = pa.array(np.asarray(batch.column("key")).astype(np.int64))
            yield {"partner": partner, "side": batch.column("side"), "status": pa.array(status)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, partner, side, status = (
            np.asarray(replies.column(name)) for name in ("row", "partner", "side", "status")
        )
        asked = side == 1
        beaten = np.bincount(row[asked & (status == KEPT)], minlength=batch.num_rows) > 0
        waits = asked & (status == UNDECIDED)
        lengths = np.bincount(row[waits], minlength=batch.num_rows)
        return {"beaten": pa.array(beaten), "open": listed(lengths, partner[waits], pa.int64())}
