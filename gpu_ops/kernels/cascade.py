"""A cascade of decision trees on balanced subsets, of which the errors so far choose the next (MESA).

Legend: n rows, of which r rare and c common ones are trained on; d numbers in a row's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpu_ops.kernels.pool import Bools, Float32s, Float64s, Int64s
from operators.kernels.counter import UInt64s, uniform

_STRIDE = 0x9E3779B97F4A7C15  # between the seeds of two learners: those of neighbouring seeds must differ
# Up to how many learners all values of mu are tried, and the two best ones; the best goes on alone.
ALL, TWO = 4, 10


@dataclass(frozen=True)
class Task:
    """x: (n, d). positive: (n,) whether a row is rare. rare, common: rows that are trained on, in an order by
    key. judges: rows on which cascades are compared. key: (n,)."""

    x: Float32s
    positive: Bools
    rare: Int64s
    common: Int64s
    judges: Int64s
    key: UInt64s
    sigma: float
    max_depth: int | None
    seed: int


@dataclass
class Cascade:
    """total: (n,) sum of the learners' probabilities of the rare class. times: (n,) how many learners were
    trained on a row."""

    mu: float
    total: Float64s
    times: Int64s
    learners: int = 0
    course: list[float] = field(default_factory=list)

    def grow(self, task: Task) -> None:
        """Trains one more tree, on the rare rows and as many common ones, drawn without replacement with
        weights exp(-((e - mu) / sigma)^2 / 2) for errors e so far; the first ones at random."""
        from sklearn.tree import DecisionTreeClassifier

        seed = task.seed + self.learners * _STRIDE
        draw = -np.log(-np.log(uniform(seed, task.key[task.common])))
        if self.learners:
            error = self.total[task.common] / self.learners
            draw -= ((error - self.mu) / task.sigma) ** 2 / 2
        most = np.argsort(-draw, kind="stable")[: len(task.rare)]
        rows = np.concatenate([task.rare, task.common[most]])
        tree: Any = DecisionTreeClassifier(max_depth=task.max_depth, random_state=seed % 2**32)
        tree.fit(task.x[rows], task.positive[rows])
        self.total += tree.predict_proba(task.x)[:, 1]
        self.times[rows] += 1
        self.learners += 1
        self.course.append(self._judged(task))

    def _judged(self, task: Task) -> float:
        """The area under the precision-recall curve on the judges; NaN where they lack a class."""
        from sklearn.metrics import average_precision_score

        truth = task.positive[task.judges]
        if truth.all() or not truth.any():
            return float("nan")
        return float(average_precision_score(truth, self.total[task.judges]))


def race(task: Task, mus: Sequence[float], learners: int) -> list[Cascade]:
    """A cascade for each mu, the best first: all have ALL learners, the better two TWO, the best `learners`
    (or fewer, where those are fewer). Of equals the mu that comes first wins."""
    n = len(task.x)
    field_of = [Cascade(mu, np.zeros(n), np.zeros(n, np.int64)) for mu in mus]
    for count, until in ((len(mus), ALL), (2, TWO), (1, learners)):
        for cascade in field_of[:count]:
            while cascade.learners < min(until, learners):
                cascade.grow(task)
        best = sorted(field_of[:count], key=lambda one: -np.nan_to_num(one.course[-1], nan=0.0))
        field_of = best + field_of[count:]
    return field_of
