"""The verdict of near deduplication, also for documents with equal shingle sets."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import DROP, Adds, Columns, Emission, Reads, ReduceOp, Uses, drop_column
from operators.kernels.lists import filled


class NearDecision(ReduceOp):
    """Hands the fate of each document on to its twins: they go because of it, or of whoever it goes for.

    The face of `minhash_dedup`: reads its parts `same`, `partner` and, if asked, `clusters`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    clusters: bool = False
    """Whether the column `cluster` is added."""

    @property
    def reads(self) -> Reads:
        cluster = {"/clusters.cluster": pa.int64()} if self.clusters else {}
        return {
            "uid": pa.int64(),
            "/same.twin": pa.int64(),
            "/same.twinned": pa.bool_(),
            "/partner.kept": pa.int64(),
            "/partner.similarity": pa.float32(),
            **cluster,
        }

    @property
    def adds(self) -> Adds:
        cluster = {"cluster": pa.int64()} if self.clusters else {}
        return {"drop": DROP, "kept": pa.int64(), "similarity": pa.float32(), **cluster}

    @property
    def emits(self) -> Adds:
        return {"first": pa.int64(), "kept": pa.int64(), "similarity": pa.float32(), "cluster": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        uid = np.asarray(batch.column("uid"))
        twin, kept = filled(batch.column("/same.twin"), -1), filled(batch.column("/partner.kept"), -1)
        similarity = filled(batch.column("/partner.similarity"), -1)
        cluster = np.asarray(batch.column("/clusters.cluster")) if self.clusters else uid
        speaks = batch.column("/same.twinned").to_numpy(zero_copy_only=False) | (kept >= 0) | (cluster != uid)
        row = np.flatnonzero(speaks | (twin >= 0))
        own = twin[row] < 0  # twins bring nothing: their values lose every maximum
        payload = {
            "first": np.where(own, uid[row], -1),
            "kept": np.where(own, kept[row], -1),
            "similarity": np.where(own, similarity[row], np.float32(-1)),
            "cluster": np.where(own, cluster[row], -1),
        }
        key = np.where(own, uid[row], twin[row]).astype(np.uint64)
        return Emission(row, key, {name: pa.array(values) for name, values in payload.items()})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {
            name: pa.array(np.maximum.reduceat(np.asarray(messages.column(name)), starts))
            for name in self.emits
        }

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        uid, row = np.asarray(batch.column("uid")), np.asarray(replies.column("row"))
        first, partner, near = (np.asarray(replies.column(name)) for name in ("first", "kept", "similarity"))
        twin = first != uid[row]
        kept, similarity = np.full(len(uid), -1, np.int64), np.full(len(uid), -1, np.float32)
        kept[row] = np.where(twin & (partner < 0), first, partner)
        similarity[row] = np.where(twin & (partner < 0), np.float32(1), near)
        stays = kept < 0
        out = {
            "drop": drop_column(np.where(stays, -1, 0), ["near_duplicate"]),
            "kept": pa.array(kept, mask=stays),
            "similarity": pa.array(similarity, mask=stays),
        }
        if self.clusters:
            cluster = uid.copy()
            cluster[row] = np.asarray(replies.column("cluster"))
            out["cluster"] = pa.array(cluster)
        return out
