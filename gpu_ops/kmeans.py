"""Clusters of embeddings by spherical k-means, the same for any cut of the corpus and on any device."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.cosine import nearest, tiles
from gpu_ops.kernels.unit_grid import unit_grid
from operators.contract import Adds, Artifact, Columns, Kind, LoopOp, Part, Reads, Uses


class Kmeans(LoopOp):
    """Adds `cluster`, the number of the nearest centre by cosine, and `similarity`, that cosine.

    Spherical k-means (Dhillon & Modha 2001) over unit vectors that are rounded to 15 bits a number, so
    that all sums are exact integers: first centres by k-means++ out of a sample (`kmeans_start`), then
    rounds in which every centre moves to the direction of its cluster's sum (`kmeans_move`), until
    none moves or after `rounds`. Equal distances go to the lowest cluster. Both columns are null where
    there is no direction: null, empty or zero embeddings, and such with a null, NaN or infinity.

    One round reads all embeddings once and costs 2 * n * clusters * d operations. Runs on the GPU that
    the process sees, else on the CPU, with the same result. ValueError, with the uid, for embeddings of
    different lengths or of more than 4,096 numbers.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"clusters": 4, "rounds": 2, "seed": 3})

    column: str = "embedding"
    """The embeddings: lists of floats, all of one length."""
    clusters: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many clusters; by default sqrt(n) / 4 for n embeddings, rounded up, at most 8,192."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 10
    """Rounds at most in which the centres move."""
    seed: int | None = None
    """Seed of the first centres; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), self.column: Kind.VECTOR}

    @property
    def adds(self) -> Adds:
        return {"cluster": pa.int32(), "similarity": pa.float32()}

    def step(self, round: int) -> list[Part]:
        data = {"column": self.column, "clusters": self.clusters}
        if round > 0:
            return [Part("centres", "kmeans_move", data, {"last": "last.centres"})]
        start = Part("start", "kmeans_start", {**data, "seed": self.seed})
        return [start, Part("centres", "kmeans_move", data, {"last": "start"})]

    def done(self, state: Artifact, round: int) -> bool:
        return round + 1 >= self.rounds or int(state["moved"][0]) == 0

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        centres = uses["last"]["centres"]
        uid = np.asarray(batch.column("uid"))
        rows, cells = unit_grid(batch.column(self.column), uid, centres.shape[1])
        cluster, similarity = np.full(len(uid), -1, np.int32), np.zeros(len(uid), np.float32)
        if len(rows):
            cluster[rows], similarity[rows] = nearest(cells, centres, tiles())
        absent = cluster < 0  # no direction
        return {"cluster": pa.array(cluster, mask=absent), "similarity": pa.array(similarity, mask=absent)}
