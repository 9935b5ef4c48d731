"""Documents that take part in a candidate pair."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.searches import candidate_columns, candidates


class NearFollowed(ReduceOp):
    """Tells a document that a later one names it as a candidate, so that it can answer.

    A part of `minhash_dedup`: reads its part `near`, with `again` also that of the second search.
    `paired`: followed, or with candidates itself, so that the text has to be read again.
    """

    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    again: bool = False
    """Whether this is about what only the second search has found."""

    @property
    def reads(self) -> Reads:
        bucketed = {f"/{self._part()}.bucketed": pa.bool_()}
        return {"uid": pa.int64(), **candidate_columns(self.again), **bucketed}

    @property
    def adds(self) -> Adds:
        return {"followed": pa.bool_(), "paired": pa.bool_()}

    @property
    def emits(self) -> Adds:
        return {"followed": pa.uint8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, near = candidates(batch, self.again)
        own = np.flatnonzero(batch.column(f"/{self._part()}.bucketed").to_numpy(zero_copy_only=False))
        row = np.concatenate([own, np.repeat(np.arange(batch.num_rows), lengths)])
        key = np.concatenate([np.asarray(batch.column("uid"))[own], near]).astype(np.uint64)
        flag = (np.arange(len(row)) >= len(own)).astype(np.uint8)
        order = np.argsort(row, kind="stable")  # a row's own message comes first
        return Emission(row[order], key[order], {"followed": pa.array(flag[order])})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"followed": pa.array(np.maximum.reduceat(np.asarray(messages.column("followed")), starts))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, flag = np.asarray(replies.column("row")), np.asarray(replies.column("followed"))
        own = np.flatnonzero(np.diff(row, prepend=-1))
        followed = np.zeros(batch.num_rows, bool)
        followed[row[own]] = flag[own] > 0
        follows = np.bincount(row, minlength=batch.num_rows) > 1
        return {"followed": pa.array(followed), "paired": pa.array(followed | follows)}

    def _part(self) -> str:
        return "again" if self.again else "near"
