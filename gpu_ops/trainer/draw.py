"""What a step trains on: the next batch of the data, or what a selector chooses from as many as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpu_ops.trainer.ahead import Ahead
from gpu_ops.trainer.batch import IGNORED, Batch, Feed
from gpu_ops.trainer.schedule import Schedule
from gpu_ops.trainer.select.selector import Arrays, Chosen, Floats, Scores, Selector

Score = Callable[[Batch, frozenset[str]], Scores]


@dataclass(frozen=True)
class Drawn:
    """The rows of a step. weights: (R,) of their losses. numbers: the batches that they are from. targets:
    what the summed loss is divided by. told: figures for the log."""

    batch: Batch
    weights: Floats
    numbers: tuple[int, ...]
    targets: float
    told: dict[str, float]


@dataclass
class Draw:
    """The place in the data, and what is held back between steps.

    Batches come by number, 0, 1, 2, ...; those in `skipped` never. A batch is a pure function of its number,
    so that the state is a few numbers: `number` is the next batch's, `waiting` are rows (batch, place in it,
    weight) that were chosen and are not trained on yet.
    """

    feed: Feed
    schedule: Schedule
    selector: Selector | None = None
    number: int = 0
    skipped: set[int] = field(default_factory=set)
    waiting: list[tuple[int, int, float]] = field(default_factory=list)
    workers: int = 0  # threads that read ahead

    def __post_init__(self) -> None:
        self.ahead = Ahead(self.feed, self.schedule.place, self.skipped, self.workers)

    def next(self, step: int, score: Score) -> Drawn:
        """The rows of a step. `score` is asked for what the selector needs."""
        rows = int(self.schedule.rows[step])
        if self.selector is None:
            number = self._take_number()
            batch = self.read(number)
            return Drawn(batch, np.ones(len(batch)), (number,), float(batch.learned.sum()), {})
        parts = [(n, self.read(n).take(np.array([i])), np.array([w])) for n, i, w in self.waiting]
        self.waiting = []
        told: dict[str, float] = {}
        looked = 0
        while sum(len(weights) for _, _, weights in parts) < rows:
            number = self._take_number()
            candidates = self.read(number)
            looked += len(candidates)
            found = self.selector.choose(candidates, score(candidates, self.selector.needs), rows, number)
            told.update(found.told or {})
            room = rows - sum(len(weights) for _, _, weights in parts)
            rest = zip(found.index[room:].tolist(), found.weight[room:].tolist(), strict=True)
            self.waiting += [(number, i, w) for i, w in rest]
            parts.append((number, _kept(candidates, found, room), found.weight[:room]))
        batch = Batch.joined([part for _, part, _ in parts])
        weights = np.concatenate([w for _, _, w in parts])
        numbers = tuple(dict.fromkeys(number for number, _, _ in parts))
        return Drawn(batch, weights, numbers, float(batch.learned.sum()), {**told, "looked_at": looked})

    def read(self, number: int) -> Batch:
        """The candidates of one batch."""
        return self.ahead.read(number)

    def skip(self, numbers: Iterable[int]) -> None:
        """These batches will not come; call it on a state from before them."""
        self.skipped |= set(numbers)

    def _take_number(self) -> int:
        while self.number in self.skipped:
            self.number += 1
        self.number += 1
        return self.number - 1

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """For a checkpoint: what JSON holds, and arrays."""
        plain = {"number": self.number, "skipped": sorted(self.skipped), "waiting": self.waiting}
        return plain, {} if self.selector is None else self.selector.state()

    def restore(self, plain: dict[str, Any], arrays: Arrays) -> None:
        """Goes on from a state. Batches that are skipped by now are added to those that were then."""
        self.number = plain["number"]
        self.skipped |= set(plain["skipped"])
        self.waiting = [(int(n), int(i), float(w)) for n, i, w in plain["waiting"]]
        if self.selector is not None:
            self.selector.restore(arrays)


def _kept(candidates: Batch, found: Chosen, room: int) -> Batch:
    """The chosen rows, without the targets that are masked."""
    batch = candidates.take(found.index[:room])
    if found.keep is None:
        return batch
    targets = np.where(found.keep[:room], batch.targets, IGNORED)
    return Batch(batch.inputs, targets, batch.rows, batch.lengths, batch.positions)
