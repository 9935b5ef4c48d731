"""Of the documents of one cluster whose embeddings point the same way, the preferred ones stay."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.cosine import TILE, Seen, Verdict, joined, tiles
from gpu_ops.kernels.unit_grid import Int16s, unit_grid
from operators.contract import DROP, Adds, Columns, Emission, Kind, Reads, ShuffleOp, Uses, drop_column
from operators.kernels.lists import filled

_SLACK = 1e-12  # the cosine of equal vectors may be a rounding below 1


class CosineGreedy(ShuffleOp):
    """Sends every embedding to its cluster, where the greedy decision is taken in keep order.

    The face of `semantic_dedup`, whose docstring says what the columns hold; reads its parts `clusters`
    and `rank`. A message holds a vector, 2 bytes a number, and 42 bytes beside it.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    order: ClassVar[tuple[str, ...]] = ("tier", "rank")

    column: str = "embedding"
    """The embeddings: lists of floats, all of one length."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The cosine from which two embeddings are near duplicates."""
    window: Annotated[int, Field(ge=1)] = 65_536
    """The last kept documents of its cluster with which each is compared at least."""

    @property
    def reads(self) -> Reads:
        order = {"/rank.tier": pa.uint16(), "/rank.rank": pa.uint64()}
        return {"uid": pa.int64(), self.column: Kind.VECTOR, "/clusters.cluster": pa.int32(), **order}

    @property
    def adds(self) -> Adds:
        evidence = {"kept": pa.int64(), "similarity": pa.float32()}
        return {"drop": DROP, **evidence, "cluster": pa.int32(), "unseen": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"tier": pa.uint16(), "rank": pa.uint64(), "vector": pa.large_binary()}

    @property
    def replies(self) -> Adds:
        evidence = {"kept": pa.int64(), "similarity": pa.float32()}
        return {**evidence, "cluster": pa.int32(), "unseen": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        row, cells = unit_grid(batch.column(self.column), np.asarray(batch.column("uid")))
        ends = pa.py_buffer(np.arange(len(cells) + 1) * cells.shape[1] * 2)
        vectors = pa.Array.from_buffers(pa.large_binary(), len(cells), [None, ends, pa.py_buffer(cells)])
        tier, rank = (pa.array(np.asarray(batch.column(f"/rank.{name}"))[row]) for name in ("tier", "rank"))
        cluster = filled(batch.column("/clusters.cluster"), -1)[row]
        payload = {"tier": tier, "rank": rank, "vector": vectors}
        return Emission(row, cluster.astype(np.uint64), payload)

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        cluster, seen, on = np.uint64(0), None, tiles()
        chunk = min(TILE, -(-self.window // 16))
        for batch in messages:
            key, uid = np.asarray(batch.column("key")), np.asarray(batch.column("uid"))
            bounds = np.concatenate(([0], np.flatnonzero(np.diff(key)) + 1, [len(key)]))
            verdicts = []
            for start, end in pairwise(bounds.tolist() if len(key) else []):
                if seen is None or key[start] != cluster:
                    cluster = key[start]
                    seen = Seen(on, self.threshold - _SLACK, self.window, chunk)
                cells = _cells(batch.column("vector").slice(start, end - start))
                verdicts.append(seen.decide(cells, uid[start:end]))
            yield _answers(key, joined(verdicts))

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        n, row = batch.num_rows, np.asarray(replies.column("row"))
        out = {name: np.full(n, -1, np.int64) for name in ("kept", "cluster", "unseen")}
        for name, values in out.items():
            values[row] = filled(replies.column(name), -1)
        similarity = np.zeros(n, np.float32)
        similarity[row] = filled(replies.column("similarity"), 0)
        stays = out["kept"] < 0
        return {
            "drop": drop_column(np.where(stays, -1, 0), ["semantic_duplicate"]),
            "kept": pa.array(out["kept"], mask=stays),
            "similarity": pa.array(similarity, mask=stays),
            "cluster": pa.array(out["cluster"].astype(np.int32), mask=out["cluster"] < 0),
            "unseen": pa.array(out["unseen"], mask=out["cluster"] < 0),
        }


def _cells(vectors: pa.Array) -> Int16s:
    """The (n, d) vectors of n messages, n > 0."""
    ends = np.frombuffer(vectors.buffers()[1], np.int64)[vectors.offset : vectors.offset + len(vectors) + 1]
    bytes_ = np.frombuffer(vectors.buffers()[2], np.uint8)[ends[0] : ends[-1]]
    return bytes_.view(np.int16).reshape(len(vectors), -1)


def _answers(key: npt.NDArray[np.uint64], verdict: Verdict) -> Columns:
    goes = verdict.kept >= 0
    return {
        "kept": pa.array(verdict.kept, mask=~goes),
        "similarity": pa.array(np.minimum(verdict.cosine, 1).astype(np.float32), mask=~goes),
        "cluster": pa.array(key.astype(np.int32)),
        "unseen": pa.array(verdict.unseen),
    }
