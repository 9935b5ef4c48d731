"""Representative sampling: one row of each cluster of the rows near a classifier's boundary."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from gpu_ops.kernels.clusters import ROUNDS, clustered
from gpu_ops.kernels.informative import most_informative
from gpu_ops.kernels.pool import Pool, Wanted
from gpu_ops.kernels.selecting import Choice, SelectOp


class Representative(SelectOp):
    """Clusters the rows within a margin of the boundary by k-means and takes the one nearest to each centre.

    Xu et al. (2003, 'Representative sampling for text classification using support vector machines'): k, the
    budget, is the number of clusters, and all rows within pull alike. Where fewer than k rows lie within,
    those of the smallest margins are taken. `weighted_kmeans` weighs them instead of cutting them off, and
    is what to use first; a margin that many rows are within makes this `kmeans_sample`.

    What to expect, within .1 (20 seeds, MiniLM embeddings, accuracy minus that of random rows): 400 rows
    after 200 of banking77, +.050 +- .004; 100 after 20 of subjectivity, -.019 +- .006.

    Rows of the largest clusters come first; `weight` is the number of rows in the cluster, of those within.
    Distances, fill-up, sameness and cost as in `kmeans_sample`, for the rows within.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep_rows": 5, "margin": "words", "within": 9, "seed": 1},
        {"keep_share": 0.4, "margin": "score", "labelled": "domain", "group": "label", "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    margin: str = "margin"
    """How far a row is from the boundary: `classifier_head`'s margin of the two likeliest labels, or the
    signed distance of a support vector machine, of which the sign is left out."""
    within: Annotated[float, Field(gt=0)] = 0.5
    """Rows of at most so large a margin take part. Of a support vector machine 1 is the paper's."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = ROUNDS
    """Rounds of k-means at most."""

    @property
    def wanted(self) -> Wanted:
        return Wanted(vectors=[self.embedding], numbers=[self.margin])

    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        far, seed = np.abs(pool.numbers[self.margin]), self.seed or 0
        rows = np.flatnonzero(~pool.taken & (far <= self.within))
        if len(rows) < k:
            rows = most_informative(pool, -far, k, seed)
        x = pool.wide(self.embedding, rows)
        chosen, sizes = clustered(x, k, pool.key[rows], seed, rounds=self.rounds).representatives(k)
        return Choice(rows[chosen], sizes)
