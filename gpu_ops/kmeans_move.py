"""One round of k-means: every centre moves to the middle of the embeddings that are nearest to it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.centres import moved, sums
from gpu_ops.kernels.cosine import nearest, tiles
from gpu_ops.kernels.unit_grid import MAX_DIMENSIONS, unit_grid
from gpu_ops.kmeans_start import MOST_CLUSTERS
from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses


class KmeansMove(FoldOp):
    """Sums the vectors of every cluster as integers, so that no order of the sums changes a bit.

    A part of `kmeans`; gets the centres of the round before under the name `last`. Its summary has
    clusters * d * 8 bytes. A centre that is nearest to nobody stays where it is.

    Artifact: `centres` (k, d) int16 on the grid of `unit_grid`, `moved` (1,) how many centres changed.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    column: str = "embedding"
    """The embeddings: lists of floats, all of one length."""
    clusters: Annotated[int, Field(ge=1)] | None = None
    """Number of centres that were asked for."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), self.column: Kind.VECTOR}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return (self.clusters or MOST_CLUSTERS) * MAX_DIMENSIONS * 8

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        centres = uses["last"]["centres"]
        uid = np.asarray(batch.column("uid"))
        _, cells = unit_grid(batch.column(self.column), uid, centres.shape[1])
        label, _ = nearest(cells, centres, tiles())
        return {"sums": sums(cells, label, len(centres))}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"sums": a["sums"] + b["sums"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        before = uses["last"]["centres"]
        now = moved(state["sums"], before)
        return {"centres": now, "moved": np.array([(now != before).any(axis=1).sum()])}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
