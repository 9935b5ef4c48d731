"""One round of min-label spreading along the edges between near duplicates."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.lists import filled, flat


class ClusterSpread(ReduceOp):
    """Gives each document the least label among itself, its neighbours and its label's document.

    A part of `near_clusters`. The least of a key is both what its document hears and what its
    followers hear, so labels travel both ways along an edge; asking the label's own document (pointer
    jumping; Shiloach & Vishkin 1982) shortens long chains.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    first: bool = True
    """Whether this is the first round, in which a document's label is its uid."""

    @property
    def reads(self) -> Reads:
        own = {} if self.first else {"last.spread.label": pa.int64()}
        twins = {"/same.twin": pa.int64(), "/same.twinned": pa.bool_()}
        edges = {"/verify.edges": pa.list_(pa.int64()), "/followed.followed": pa.bool_()}
        return {"uid": pa.int64(), **twins, **edges, **own}

    @property
    def adds(self) -> Adds:
        return {"label": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"label": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        uid = np.asarray(batch.column("uid"))
        label = uid if self.first else np.asarray(batch.column("last.spread.label"))
        lengths, edges = flat(batch.column("/verify.edges"))
        twin = filled(batch.column("/same.twin"), -1)
        joined = (lengths > 0) | (twin >= 0)
        for name in ("/followed.followed", "/same.twinned"):
            joined |= batch.column(name).to_numpy(zero_copy_only=False)
        own, jumps, twins = (np.flatnonzero(rows) for rows in (joined, joined & (label != uid), twin >= 0))
        row = np.concatenate([own, np.repeat(np.arange(len(uid)), lengths), twins, jumps])
        key = np.concatenate([uid[own], edges, twin[twins], label[jumps]]).astype(np.uint64)
        order = np.argsort(row, kind="stable")
        return Emission(row[order], key[order], {"label": pa.array(label[row[order]])})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"label": pa.array(np.minimum.reduceat(np.asarray(messages.column("label")), starts))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, heard = np.asarray(replies.column("row")), np.asarray(replies.column("label"))
        label = np.asarray(batch.column("uid")).copy()
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        if len(starts):
            label[row[starts]] = np.minimum.reduceat(heard, starts)
        return {"label": pa.array(label)}
