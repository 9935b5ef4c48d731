"""NearMiss: of each larger class, the rows nearest to the smallest one."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.neighbours import top_k
from gpu_ops.kernels.pool import Bools, Float32s, Float64s, Int64s
from gpu_ops.kernels.thinning import BudgetOp, Rows, Verdict
from operators.contract import Adds

_BLOCK = 4_000_000  # distances at once


class NearMiss(BudgetOp):
    """Keeps, of every class but the smallest, the rows that are nearest to rows of the smallest.

    Mani & Zhang 2003 ("kNN approach to unbalanced data distributions", ICML workshop), as imbalanced-learn's
    NearMiss. Euclidean. Variant 1 keeps the rows with the least mean distance to their `neighbours` nearest
    rows of the smallest class; variant 2 to their `neighbours` farthest ones. Variant 3 first takes the
    `shortlist` nearest rows of each row of the smallest class, then of those the rows with the largest mean
    distance to their nearest ones; where that leaves fewer rows than the budget, all of them stay.

    `distance` is that mean; null in the smallest class, and for rows outside variant 3's shortlist. Rows that
    go have the reason "not_near".

    What to expect: it takes the border, so mislabelled and overlapping rows first. At 5 % minority it was
    worse than random undersampling on both data sets of `workflows/undersampling.py`, where the figures are.

    Exact, in one job: n m d operations for n rows and m of the smallest class. Needs scikit-learn.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"variant": 2, "ratio": 0.8, "mark": True},
        {"variant": 3, "label": "domain", "cap": 4, "neighbours": 1},
    )
    reasons: ClassVar[tuple[str, ...]] = ("not_near",)

    variant: Literal[1, 2, 3] = 1
    """Which of the three rules."""
    neighbours: Annotated[int, Field(ge=1)] = 3
    """Over how many rows of the smallest class a distance is averaged; over all, where it has fewer."""
    shortlist: Annotated[int, Field(ge=1)] = 3
    """Variant 3: how many of its nearest rows each row of the smallest class takes."""

    @property
    def evidence(self) -> Adds:
        return {"distance": pa.float64()}

    def judge(self, rows: Rows, device: str) -> Verdict:
        rare = np.asarray(rows.x[rows.of(rows.minority)])
        distance, reason = np.full(len(rows), np.nan), np.full(len(rows), -1)
        for label, budget in enumerate(self.budgets(rows)):
            if label == rows.minority:
                continue
            mine = rows.of(label)
            x, listed = np.asarray(rows.x[mine]), np.ones(len(mine), bool)
            if self.variant == 3 and budget < len(mine):
                listed = self._listed(rare, x, device)
            far = self._farthest(x, rare) if self.variant == 2 else self._nearest(x, rare, device)
            far[~listed] = np.nan
            distance[mine] = far
            chosen = _first(far, int(budget), descending=self.variant == 3)
            reason[mine[~chosen]] = 0
        return Verdict(reason, {"distance": distance})

    def _listed(self, rare: Float32s, x: Float32s, device: str) -> Bools:
        """(m,) the rows of x that are near to a row of the smallest class."""
        near = top_k(rare, x, self.shortlist, "l2", device=device).index
        listed = np.zeros(len(x), bool)
        listed[near[near >= 0]] = True
        return listed

    def _nearest(self, x: Float32s, rare: Float32s, device: str) -> Float64s:
        return np.nanmean(top_k(x, rare, min(self.neighbours, len(rare)), "l2", device=device).value, axis=1)

    def _farthest(self, x: Float32s, rare: Float32s) -> Float64s:
        """(m,) mean distance to the farthest rows of the smallest class."""
        from scipy.spatial.distance import cdist

        k, step = min(self.neighbours, len(rare)), max(1, _BLOCK // len(rare))
        blocks = (cdist(x[i : i + step].astype(np.float64), rare) for i in range(0, len(x), step))
        far = [np.sort(block, axis=1)[:, -k:].mean(axis=1) for block in blocks]
        return np.concatenate([np.zeros(0), *far])


def _first(value: Float64s, count: int, descending: bool) -> Bools:
    """(m,) the `count` least or largest values; of equals the first; never a NaN."""
    order: Int64s = np.argsort(-value if descending else value, kind="stable")[:count]
    chosen = np.zeros(len(value), bool)
    chosen[order] = True
    return chosen & ~np.isnan(value)
