"""For a document that goes, the kept one that it is nearest to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ShuffleOp, Uses
from operators.kernels.asking import GONE, KEPT, answer, ask
from operators.kernels.lists import flat


class KeptPartner(ShuffleOp):
    """Asks all earlier near duplicates of a document that goes whether they stay.

    A part of `minhash_dedup`: reads its parts `verify`, `followed` and `greedy`. `kept` is the kept
    one with the highest `similarity` (ties: the first in keep order), null for documents that stay.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    order: ClassVar[tuple[str, ...]] = ("side",)

    @property
    def reads(self) -> Reads:
        return {
            "uid": pa.int64(),
            "/verify.edges": pa.list_(pa.int64()),
            "/verify.similarity": pa.list_(pa.float32()),
            "/followed.followed": pa.bool_(),
            "/greedy.status": pa.int8(),
        }

    @property
    def adds(self) -> Adds:
        return {"kept": pa.int64(), "similarity": pa.float32()}

    @property
    def emits(self) -> Adds:
        return {"side": pa.uint8(), "status": pa.int8(), "similarity": pa.float32()}

    @property
    def replies(self) -> Adds:
        return {"partner": pa.int64(), "similarity": pa.float32()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, edges = flat(batch.column("/verify.edges"))
        _, similarity = flat(batch.column("/verify.similarity"))
        status = np.asarray(batch.column("/greedy.status"))
        gone = status == GONE
        followed = batch.column("/followed.followed").to_numpy(zero_copy_only=False)
        row, key, side = ask(np.asarray(batch.column("uid")), followed, lengths, edges, gone)
        sent = np.full(len(row), -1, np.float32)
        sent[side == 1] = similarity[np.repeat(gone, lengths)]
        payload = {"side": pa.array(side), "status": pa.array(status[row]), "similarity": pa.array(sent)}
        return Emission(row, key, payload)

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        carry = np.zeros(1, np.int8)
        for batch in messages:
            side, similarity = np.asarray(batch.column("side")), np.asarray(batch.column("similarity"))
            status = answer(side, np.asarray(batch.column("status")), carry)
            stays = (side == 1) & (status == KEPT)
            yield {
                "partner": pa.array(np.asarray(batch.column("key")).astype(np.int64)),
                "similarity": pa.array(np.where(stays, similarity, np.float32(-1))),
            }

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, partner, similarity = (
            np.asarray(replies.column(name)) for name in ("row", "partner", "similarity")
        )
        order = np.lexsort([np.arange(len(row)), -similarity, row])  # edges are in keep order
        best = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
        best = best[similarity[best] >= 0]
        kept, near = np.full(batch.num_rows, -1, np.int64), np.zeros(batch.num_rows, np.float32)
        kept[row[best]], near[row[best]] = partner[best], similarity[best]
        return {"kept": pa.array(kept, mask=kept < 0), "similarity": pa.array(near, mask=kept < 0)}
