"""One round of k-means: every centre moves to the middle of the embeddings that are nearest to it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.centres import masses, sums
from gpu_ops.kernels.cosine import nearest, tiles
from gpu_ops.kernels.grids import grid_of
from gpu_ops.kernels.unit_grid import MAX_DIMENSIONS
from gpu_ops.kmeans_grid import Weights, whole_weights_of
from gpu_ops.kmeans_start import MOST_CLUSTERS
from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.kernels.counter import uniform

_STREAM = 0x6261746368  # keeps apart from other operators that share a seed


class KmeansMove(FoldOp):
    """Sums the vectors of every cluster as integers, so that no order of the sums changes a bit.

    A part of `kmeans`; gets the centres of the round before under the name `last`. Its summary has
    clusters * (d + 1) * 8 bytes. A centre that is nearest to nobody stays where it is. With `batch` only
    a random part of the rows is seen, and the sums of earlier rounds stay (Sculley 2010): a centre is
    the middle of all the rows that were ever nearest to it.

    Artifact: what `last` has, with `centres` (k, d) on the grid, `moved` (1,) how many of them changed,
    `empty` (1,) how many are nearest to nobody; with `batch` also the sums so far.
    """

    version = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    column: str = "embedding"
    """The embeddings: lists of floats, all of one length."""
    clusters: Annotated[int, Field(ge=1)] | None = None
    """Number of centres that were asked for."""
    weights: Weights = None
    """The column of weights."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """How many rows are seen, about; all of them by default."""
    round: Annotated[int, Field(ge=0)] = 0
    """Number of the round, for the choice of rows."""
    seed: int | None = None
    """Seed of the choice of rows."""

    @property
    def reads(self) -> Reads:
        weights: Reads = {self.weights: Kind.NUMBER} if self.weights else {}
        key: Reads = {"key": pa.uint64()} if self.batch else {}
        return {"uid": pa.int64(), self.column: Kind.VECTOR, **weights, **key}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return (self.clusters or MOST_CLUSTERS) * (MAX_DIMENSIONS + 1) * 8

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        last = uses["last"]
        if self.batch:
            batch = batch.filter(pa.array(self._seen(batch, int(last["rows"][0]))))
        centres, grid = last["centres"], grid_of(last)
        uid = np.asarray(batch.column("uid"))
        rows, cells = grid.cells(batch.column(self.column), uid, centres.shape[1])
        weight = whole_weights_of(batch, self.weights, last)
        weight = None if weight is None else weight[rows]
        label, _ = nearest(cells, centres, tiles(), grid)
        total, mass = sums(cells, label, len(centres), weight), masses(label, len(centres), weight)
        return {"sums": total, "mass": mass}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"sums": a["sums"] + b["sums"], "mass": a["mass"] + b["mass"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        last = uses["last"]
        grid, before = grid_of(last), last["centres"]
        if self.batch and "sums" in last:
            state = self.merge(state, last)
        if len(before) and int(state["mass"].max()) > (2**63 - 1) // grid.largest:
            raise ValueError("a cluster weighs too much for exact sums: ask for more clusters")
        now = grid.middles(state["sums"], state["mass"], before)
        moved, empty = (now != before).any(axis=1).sum(), (state["mass"] == 0).sum()
        counts = {"moved": np.array([moved]), "empty": np.array([empty])}
        return {**last, **(state if self.batch else {}), "centres": now, **counts}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def _seen(self, batch: pa.RecordBatch, rows: int) -> npt.NDArray[np.bool_]:
        """(n,) which rows are in this round's part: a function of (seed, round, key)."""
        stream = ((self.seed or 0) ^ _STREAM) + self.round * 0x9E3779B97F4A7C15
        return uniform(stream, np.asarray(batch.column("key"))) * rows < (self.batch or rows)
