"""Tomek links: rows of two classes that are each other's nearest neighbours."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from gpu_ops.kernels.linked import linked
from gpu_ops.kernels.thinning import CleanOp, Rows, Verdict
from operators.contract import Adds


class TomekLinks(CleanOp):
    """Drops rows that are the nearest neighbour of a row of another class, whose nearest neighbour they are.

    Tomek 1976 ("Two modifications of CNN", IEEE SMC 6), as imbalanced-learn's TomekLinks: of each link, the
    rows of `classes` go; "all" drops both. Euclidean; of equally near rows the first by uid is the nearest.

    `link` is the uid of the other row of the link, also for one that stays; the reason is "tomek_link".

    What to expect: little. It takes a few per cent of the larger class, along the border and where labels
    are wrong; it cleans a set, it does not balance one (`workflows/undersampling.py`).

    Exact, in one job: n^2 d operations. Beyond some 100,000 rows, give `group`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"label": "domain", "classes": "all", "group": "label", "mark": True},
    )
    reasons: ClassVar[tuple[str, ...]] = ("tomek_link",)

    group: str | None = None
    """A column of strings or integers (such as clusters): neighbours are looked for in a row's own group,
    which makes it faster by as many times as there are groups, and misses links between groups."""

    @property
    def partition(self) -> str | None:
        return self.group

    @property
    def evidence(self) -> Adds:
        return {"link": pa.int64()}

    def judge(self, rows: Rows, device: str) -> Verdict:
        link = np.full(len(rows), -1)
        for part in rows.parts():
            other = linked(np.asarray(rows.x[part]), rows.label[part], device)
            link[part] = np.where(other < 0, -1, rows.uid[part[other]])
        goes = (link >= 0) & self.targets(rows)[rows.label]
        return Verdict(np.where(goes, 0, -1), {"link": link})
