"""Cluster centroids: of each larger class, one real row for each cluster, weighted by its size."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.pool import Float64s, Int64s
from gpu_ops.kernels.thinning import BudgetOp, Rows, Verdict
from operators.contract import Adds

_STREAM = 0x63656E74726F6964  # keeps apart from other operators that share a seed


class ClusterCentroids(BudgetOp):
    """Thins every class but the smallest to the rows nearest to the centres of so many k-means clusters.

    Yen & Lee 2009 (Expert Systems with Applications 36), as imbalanced-learn's ClusterCentroids with
    `voting="hard"`, but a centre's row is the nearest of its own cluster: there, two centres may give one
    row twice. `weight` is the number of rows of the cluster: a weighted coreset of the class; rows of classes
    that are not thinned have 1, those that go null. The reason is "not_central". Copies may leave clusters
    without a row; then further rows fill the budget, and share the weight of their cluster.

    What to expect: about what random rows give a classifier (`workflows/undersampling.py`). As a sample it is
    worse than random rows, above all with weights.

    scikit-learn's k-means on one thread, in float64, from k-means++ (its state from the seed, rows in an
    order by key), so that any number of workers gives the same. One job: 16 bytes a number, and n k d
    operations a round for k rows that stay.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"seed": 1},
        {"label": "domain", "cap": 4, "mark": True, "seed": 2},
    )
    reasons: ClassVar[tuple[str, ...]] = ("not_central",)
    needs_vectors: ClassVar[bool] = True

    iterations: Annotated[int, Field(ge=1)] = 100
    """The most rounds of k-means for each class."""
    seed: int | None = None
    """Seed of the first centres; the plan derives one from the run's seed and the node's name."""

    @property
    def evidence(self) -> Adds:
        return {"weight": pa.float64()}

    def judge(self, rows: Rows, device: str) -> Verdict:
        order = rows.shuffled((self.seed or 0) ^ _STREAM)
        weight, reason = np.ones(len(rows)), np.full(len(rows), -1)
        for label, budget in enumerate(self.budgets(rows)):
            mine = order[rows.label[order] == label]
            if budget == len(mine):
                continue
            reason[mine], weight[mine] = 0, np.nan
            if budget:
                chosen, sizes = self._chosen(rows.x[mine].astype(np.float64), int(budget))
                reason[mine[chosen]], weight[mine[chosen]] = -1, sizes
        return Verdict(reason, {"weight": weight})

    def _chosen(self, x: Float64s, k: int) -> tuple[Int64s, Float64s]:
        """(k,) different rows, and how many each stands for."""
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that copies leave clusters empty is told below
            seed = (self.seed or 0) % 2**32
            model = KMeans(k, n_init=1, max_iter=self.iterations, random_state=seed).fit(x)
        place = model.labels_.astype(np.int64)
        apart = ((x - model.cluster_centers_[place]) ** 2).sum(axis=1)
        by_cluster = np.lexsort((apart, place))
        clusters, first, sizes = np.unique(place[by_cluster], return_index=True, return_counts=True)
        chosen, weight = by_cluster[first], sizes.astype(np.float64)
        rest = np.setdiff1d(np.arange(len(x)), chosen)[: k - len(chosen)]
        shared = np.searchsorted(clusters, place[rest])
        weight -= np.bincount(shared, minlength=len(clusters))
        return np.concatenate([chosen, rest]), np.concatenate([weight, np.ones(len(rest))])
