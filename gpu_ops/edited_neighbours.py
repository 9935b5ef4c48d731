"""Edited nearest neighbours: rows whose neighbours belong to other classes go."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.neighbours import top_k
from gpu_ops.kernels.pool import Bools, Int64s
from gpu_ops.kernels.thinning import CleanOp, Rows, Verdict
from operators.contract import Adds


class EditedNeighbours(CleanOp):
    """Drops rows with neighbours of other classes: all k must agree, or most (`agree: most`).

    `once`: Wilson 1972 (IEEE SMC 2), imbalanced-learn's EditedNearestNeighbours. `repeated` (Tomek 1976, IEEE
    SMC 6): again over what is left, until nothing goes, `rounds` are over, or a class has become smaller
    than the smallest one was, or is gone. `all_knn` (the same paper, as imbalanced-learn's AllKNN): rounds
    with 1, 2, .. k neighbours. `cleaning_rule` (Laurikkala 2001, AIME): once by the majority, and then also
    the neighbours of every row of the smallest class that its neighbours get wrong, where their class has
    more than half as many rows as the smallest one. (There imbalanced-learn counts a row among its own
    neighbours; the paper does not, nor do we.)

    Euclidean; a row is no neighbour of itself, of equally near ones the first by uid comes first, and a tie
    of classes is won by the first in order of bytes. `agreeing` is the share of the k neighbours that have
    the row's class, `opposed` the uid of the nearest one that has not, `round` when the row went. Reasons:
    "edited", and "beside_misclassified" for the second step of the cleaning rule.

    What to expect: with k = 3 and `agree: all` it takes a row near every minority row, mislabelled ones
    too, and does not balance: `workflows/undersampling.py` has figures.

    Exact, in one job: n^2 d operations a round. Beyond some 100,000 rows, give `group`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"variant": "repeated", "agree": "most", "label": "domain", "group": "label", "mark": True},
        {"variant": "all_knn", "neighbours": 2, "classes": "all"},
        {"variant": "cleaning_rule", "label": "domain"},
    )
    reasons: ClassVar[tuple[str, ...]] = ("edited", "beside_misclassified")

    variant: Literal["once", "repeated", "all_knn", "cleaning_rule"] = "once"
    """How often, and with which neighbours."""
    neighbours: Annotated[int, Field(ge=1)] = 3
    """k; a row that has fewer neighbours is judged by those."""
    agree: Literal["all", "most"] = "all"
    """Whether all neighbours must have the row's class, or the most frequent class be it (the cleaning rule
    always asks for the latter)."""
    rounds: Annotated[int, Field(ge=1)] = 100
    """The most rounds of `repeated`."""
    group: str | None = None
    """A column of strings or integers (such as clusters): neighbours are looked for in a row's own group,
    which makes it faster by as many times as there are groups, and blind to neighbours in other groups."""

    @property
    def partition(self) -> str | None:
        return self.group

    @property
    def evidence(self) -> Adds:
        return {"agreeing": pa.float64(), "opposed": pa.int64(), "round": pa.int32()}

    def judge(self, rows: Rows, device: str) -> Verdict:
        state = _State(rows, device)
        may_go = self.targets(rows)
        if self.variant == "cleaning_rule":
            self._cleaning_rule(state, may_go)
        else:
            sizes = [*range(1, self.neighbours + 1)] if self.variant == "all_knn" else [self.neighbours]
            sizes *= self.rounds if self.variant == "repeated" else 1
            for k in sizes:
                gone = state.edit(k, self.agree, may_go)
                left = np.bincount(rows.label[state.reason < 0], minlength=len(rows.names))
                others = np.delete(left, rows.minority)
                too_few = (others < rows.sizes[rows.minority]).any() or not left.all()
                if too_few or (not gone and self.variant == "repeated"):
                    break
        evidence = {"agreeing": state.agreeing, "opposed": state.opposed, "round": state.round}
        return Verdict(state.reason, evidence)

    def _cleaning_rule(self, state: _State, may_go: Bools) -> None:
        rows = state.rows
        every = np.arange(len(rows))
        near = state.near(every, every, self.neighbours)
        state.edit(self.neighbours, "most", may_go, near)
        rare = rows.of(rows.minority)
        wrong = near[rare[_most_frequent(rows.label, near[rare]) != rows.minority]]
        beside = np.unique(wrong[wrong >= 0])
        large = may_go & (rows.sizes > rows.sizes[rows.minority] / 2)
        beside = beside[large[rows.label[beside]] & (state.reason[beside] < 0)]
        state.reason[beside], state.round[beside] = 1, 1


class _State:
    """What is known of each row (n,) after some rounds."""

    def __init__(self, rows: Rows, device: str) -> None:
        self.rows, self.device, self.number = rows, device, 0
        self.reason, self.opposed, self.round = (np.full(len(rows), -1) for _ in range(3))
        self.agreeing = np.full(len(rows), np.nan)

    def near(self, asking: Int64s, alive: Int64s, k: int) -> Int64s:
        """(q, k) the nearest rows that are alive, of the same group, for each that asks (ascending)."""
        out = np.full((len(asking), k), -1)
        for number in np.unique(self.rows.part[asking]):
            there = alive[self.rows.part[alive] == number]
            mine = np.flatnonzero(self.rows.part[asking] == number)
            own = np.searchsorted(there, asking[mine])
            data = np.asarray(self.rows.x[there])
            found = top_k(data[own], data, k, "l2", own, self.device).index
            out[mine] = np.where(found < 0, -1, there[found])
        return out

    def edit(self, k: int, agree: str, may_go: Bools, near: Int64s | None = None) -> int:
        """One round over the rows that are left; how many go."""
        label, alive = self.rows.label, np.flatnonzero(self.reason < 0)
        asking, self.number = alive[may_go[label[alive]]], self.number + 1
        near = self.near(asking, alive, k) if near is None else near[asking]
        there, same = near >= 0, label[near] == label[asking][:, None]
        count = there.sum(axis=1)
        self.agreeing[asking] = np.where(count, (there & same).sum(axis=1) / np.maximum(count, 1), np.nan)
        other = there & ~same
        first = near[np.arange(len(asking)), np.argmax(other, axis=1)]
        self.opposed[asking] = np.where(other.any(axis=1), self.rows.uid[first], -1)
        goes = other.any(axis=1) if agree == "all" else _most_frequent(label, near) != label[asking]
        gone = asking[goes & (count > 0)]
        self.reason[gone], self.round[gone] = 0, self.number
        return len(gone)


def _most_frequent(label: Int64s, near: Int64s) -> Int64s:
    """(q,) the most frequent class of the neighbours (q, k); of equals the first, -1 for none."""
    seen = np.where(near < 0, -1, label[near])
    times = (seen[:, :, None] == seen[:, None, :]).sum(axis=2) * (seen >= 0)
    best = np.where(times == times.max(axis=1, keepdims=True), seen, np.iinfo(np.int64).max)
    return np.where(times.any(axis=1), best.min(axis=1), -1)
