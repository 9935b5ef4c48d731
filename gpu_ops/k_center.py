"""k-center: rows such that every other one is near one of them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gpu_ops.kernels.greedy import Dense, distances_from, k_center, stand_for
from gpu_ops.kernels.pool import Pool, Wanted
from gpu_ops.kernels.selecting import Choice, SelectOp, filled_up


class KCenter(SelectOp):
    """Chooses rows one after the other, each the farthest from those chosen before (a core-set).

    Greedy k-center (Gonzalez 1985; Sener & Savarese 2018, arXiv 1708.00489, algorithm 1): the largest
    Euclidean distance of a row from the nearest chosen one is at most twice that of the best k rows. Without
    rows chosen before, the first is the one nearest to the mean of all, as its radius is the smallest.

    What to expect: it takes outliers first, by construction. With 15 % of TREC it was worse than random rows
    (.791 against .812), with 100 rows much worse (.491 against .604): drop outliers before (`density`, which
    has figures), or use `weighted_kmeans` or `facility_location`.

    `weight` counts the rows nearest to each chosen one, itself included. Memory: 40 bytes a row beside the
    pool; a step reads all embeddings once. For 20 of 1 million x 384 float16 a whole run took 13 CPU-seconds
    and 0.95 GB, for 10 of 10 million 86 and 1.23 GB. For many of so many give a `group`, whose choice is
    blind to other groups, or a shortlist.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep_rows": 7},
        {"keep_share": 0.5, "labelled": "domain", "group": "label", "mark": True},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""

    @property
    def wanted(self) -> Wanted:
        return Wanted(vectors=[self.embedding])

    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        points, taken = Dense(pool.vectors[self.embedding]), np.flatnonzero(pool.taken)
        if len(taken):
            more = k_center(points, k, distance=distances_from(points, taken)).index
            chosen = filled_up(more, pool, k)
            return Choice(chosen, stand_for(points, chosen, ~pool.taken))
        found = k_center(points, k, points.nearest_to_mean())
        weight = np.bincount(found.place, minlength=k)
        return Choice(filled_up(found.index, pool, k), weight.astype(np.float64))
