"""The first centres of k-means: far from each other, out of a random sample."""

from __future__ import annotations

from math import isqrt
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.centres import spread_out
from gpu_ops.kernels.cosine import tiles
from gpu_ops.kernels.grids import grid_of
from gpu_ops.kernels.unit_grid import MAX_DIMENSIONS, one_size
from gpu_ops.kmeans_grid import Weights, whole_weights_of
from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.kernels.counter import random_bits

MOST_CLUSTERS = 8192  # that the rule chooses; more have to be asked for
_SAMPLE = 4 * MOST_CLUSTERS
_STREAM = 0x6B6D65616E73  # keeps apart from other operators that share a seed


class KmeansStart(FoldOp):
    """Chooses the first centres by k-means++ among a sample of max(8192, 4 * clusters) embeddings.

    A part of `kmeans`; gets the grid under the name `grid` where there is one. Which rows are in the
    sample depends on (seed, key) alone; rows of weight 0 are not. Where `clusters` is not given, the
    sample has 32,768, and there are sqrt(n) / 4 clusters for n usable embeddings, rounded up, at most
    8,192: then the comparisons with centres cost about as much as those within clusters.

    Artifact: `centres` (k, d) on the grid, `rows` (1,) the usable embeddings, and what `grid` has.
    """

    version = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"clusters": 3, "seed": 5})

    column: str = "embedding"
    """The embeddings: lists of floats, all of one length."""
    clusters: Annotated[int, Field(ge=1)] | None = None
    """Number of centres; fewer where there are not so many distinct embeddings."""
    weights: Weights = None
    """The column of weights; it needs `grid`."""
    seed: int | None = None
    """Seed of the sample and of the draws; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        weights: Reads = {self.weights: Kind.NUMBER} if self.weights else {}
        return {"uid": pa.int64(), "key": pa.uint64(), self.column: Kind.VECTOR, **weights}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def sample(self) -> int:
        """Embeddings at most in the sample."""
        return max(8192, 4 * self.clusters) if self.clusters else _SAMPLE

    @property
    def state_bytes(self) -> int:
        return self.sample * (4 * MAX_DIMENSIONS + 24) + 64

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        uid, key = np.asarray(batch.column("uid")), np.asarray(batch.column("key"))
        grid = uses.get("grid", {})
        rows, cells = grid_of(grid).cells(batch.column(self.column), uid)
        weight = whole_weights_of(batch, self.weights, grid)
        weight = np.ones(len(uid), np.int64) if weight is None else weight
        rows, cells = rows[weight[rows] > 0], cells[weight[rows] > 0]
        luck = random_bits((self.seed or 0) ^ _STREAM, key[rows])
        state = {"rows": np.array([len(rows)]), "first": uid[rows[:1]], "cells": cells, "uid": uid[rows]}
        return self._least({**state, "luck": luck, "weight": weight[rows]})

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        if not len(a["first"]) or not len(b["first"]):
            return a if len(a["first"]) else b
        one, other = ((state["cells"].shape[1], int(state["first"][0])) for state in (a, b))
        one_size(self.column, one, other)
        joined = {name: np.concatenate([a[name], b[name]]) for name in ("luck", "uid", "cells", "weight")}
        first = np.minimum(a["first"], b["first"])
        return self._least({"rows": a["rows"] + b["rows"], "first": first, **joined})

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        rows, grid = int(state["rows"][0]), uses.get("grid", {})
        wanted = self.clusters or min(-(-isqrt(rows) // 4), MOST_CLUSTERS)
        centres = spread_out(state["cells"], state["luck"], wanted, tiles(), grid_of(grid), state["weight"])
        return {**grid, "centres": centres, "rows": state["rows"]}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def _least(self, state: Artifact) -> Artifact:
        """Only the rows of the least luck: of any merge of the same rows the same ones."""
        order = np.lexsort([state["uid"], state["luck"]])[: self.sample]
        return {**state, **{name: state[name][order] for name in ("luck", "uid", "cells", "weight")}}
