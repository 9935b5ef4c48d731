"""Clusters of embeddings by spherical k-means, the same for any cut of the corpus and on any device."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.cosine import nearest, tiles
from gpu_ops.kernels.grids import grid_of
from gpu_ops.kmeans_grid import Metric, Weights
from operators.contract import Adds, Artifact, Columns, Kind, LoopOp, Part, Reads, Uses


class Kmeans(LoopOp):
    """Adds `cluster`, the number of the nearest centre, and `similarity`, its cosine, or its `distance`.

    With `metric: cosine`, spherical k-means (Dhillon & Modha 2001) over unit vectors that are rounded to
    15 bits a number; with `l2`, Lloyd's over vectors that are rounded to about 2**-21 of the longest side of
    the box around them all. So all sums are exact integers, the same for any order. First centres by
    k-means++ and swaps out of a sample (`kmeans_start`), then rounds in which every centre moves to the
    middle of its cluster (`kmeans_move`), until none moves (but with `batch`) or after `rounds`. Equal
    distances go to the lowest cluster. A centre that is nearest to nobody stays where it is. Both columns are
    null where nothing can be compared: null and empty embeddings, such with a null, NaN or infinity,
    zeros for the cosine, and numbers beyond 1e15 for distances, beside which all others would be one point.

    One round reads all embeddings once and costs 2 * n * clusters * d operations; with `batch`, mini-batch
    k-means (Sculley 2010), batch * clusters * d, and the last assignment that of a whole round. Runs on the
    GPU that the process sees, else on the CPU, with the same result. ValueError, with the uid, for embeddings
    of different lengths or of more than 4,096 numbers, and for a weight that is negative, NaN or infinite.
    """

    version = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"clusters": 4, "rounds": 2, "seed": 3},
        {"metric": "l2", "weights": "words", "clusters": 5, "batch": 20, "rounds": 3, "seed": 3},
    )

    column: str = "embedding"
    """The embeddings: lists of floats, all of one length."""
    metric: Metric = "cosine"
    """Which centre is near: by the cosine, or by Euclidean distance (`l2`)."""
    clusters: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many clusters; by default sqrt(n) / 4 for n embeddings, rounded up, at most 8,192; never more than
    the sample for the first centres has distinct ones."""
    weights: Weights = None
    """A column of weights: how much a row pulls its centre. Rounded to 16 bits of the largest;
    a null is 0."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Mini-batches of about so many rows, drawn anew by (seed, key) for every round; by default all rows."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 10
    """Rounds at most in which the centres move."""
    seed: int | None = None
    """Seed of the first centres and of mini-batches; the plan derives one from the run's seed and the
    node's name."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), self.column: Kind.VECTOR}

    @property
    def adds(self) -> Adds:
        near = {"similarity": pa.float32()} if self.metric == "cosine" else {"distance": pa.float64()}
        return {"cluster": pa.int32(), **near}

    def step(self, round: int) -> list[Part]:
        data = {"column": self.column, "weights": self.weights}
        chosen = {"batch": self.batch, "round": round, "seed": self.seed} if self.batch else {}
        move = {**data, "clusters": self.clusters, **chosen}
        if round > 0:
            return [Part("centres", "kmeans_move", move, {"last": "last.centres"})]
        grid = [Part("grid", "kmeans_grid", {**data, "metric": self.metric})]
        grid = grid if self.weights or self.metric == "l2" else []
        first = {**data, "clusters": self.clusters, "seed": self.seed}
        start = Part("start", "kmeans_start", first, {part.name: part.name for part in grid})
        return [*grid, start, Part("centres", "kmeans_move", move, {"last": "start"})]

    def done(self, state: Artifact, round: int) -> bool:
        still = not self.batch and int(state["moved"][0]) == 0  # the next mini-batch may move them
        return round + 1 >= self.rounds or still

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        centres, grid = uses["last"]["centres"], grid_of(uses["last"])
        uid = np.asarray(batch.column("uid"))
        cluster, near = np.full(len(uid), -1, np.int32), np.zeros(len(uid))
        if len(centres):
            rows, cells = grid.cells(batch.column(self.column), uid, centres.shape[1])
            cluster[rows], near[rows] = nearest(cells, centres, tiles(), grid)
        absent = cluster < 0
        name = "similarity" if self.metric == "cosine" else "distance"
        values = pa.array(near.astype(self.adds[name].to_pandas_dtype()), mask=absent)
        return {"cluster": pa.array(cluster, mask=absent), name: values}
