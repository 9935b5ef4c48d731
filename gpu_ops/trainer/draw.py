"""What a step trains on: the next batch of the data, or what a selector chooses from as many as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gpu_ops.trainer.ahead import Ahead
from gpu_ops.trainer.batch import IGNORED, Batch, Feed
from gpu_ops.trainer.schedule import Schedule
from gpu_ops.trainer.select.selector import Arrays, Bools, Chosen, Floats, Ints, Scores, Selector, Weigh

Score = Callable[[Batch, frozenset[str]], Scores]

_PARTS = ("index", "weight", "targets", "keep")
_MOST_BATCHES = 10_000  # in a row of which none is taken: the selector takes no row any more


@dataclass(frozen=True)
class Drawn:
    """The rows of a step. weights: (R,) of their losses. numbers: the batches that they are from. targets:
    what the summed loss is divided by. weigh: further weights, by the losses. told: figures for the log."""

    batch: Batch
    weights: Floats
    numbers: tuple[int, ...]
    targets: float
    told: dict[str, float]
    weigh: Weigh | None = None


@dataclass(frozen=True)
class _Part:
    """Chosen rows of one batch: their places in it, weights, shares of the divisor, and kept targets."""

    number: int
    index: Ints
    weight: Floats
    targets: Floats
    keep: Bools | None

    def __len__(self) -> int:
        return len(self.index)

    def cut(self, some: slice) -> _Part:
        keep = None if self.keep is None else self.keep[some]
        return _Part(self.number, self.index[some], self.weight[some], self.targets[some], keep)

    def rows(self, candidates: Batch) -> Batch:
        """Of the batch that they are from, without the targets that are masked."""
        batch = candidates.take(self.index)
        if self.keep is None:
            return batch
        return replace(batch, targets=np.where(self.keep, batch.targets, IGNORED))


@dataclass
class Draw:
    """The place in the data, and what is held back between steps.

    Batches come by number, 0, 1, 2, ...; those in `skipped` never. A batch is a pure function of its number,
    so that the state is a few numbers: `number` is the next batch's, `waiting` are rows that were chosen and
    are not trained on yet.
    """

    feed: Feed
    schedule: Schedule
    selector: Selector | None = None
    number: int = 0
    skipped: set[int] = field(default_factory=set)
    waiting: list[_Part] = field(default_factory=list)
    workers: int = 0  # threads that read ahead
    _last: tuple[int, Batch] | None = None

    def __post_init__(self) -> None:
        self.ahead = Ahead(self.feed, self.schedule.place, self.skipped, self.workers)

    def next(self, step: int, score: Score) -> Drawn:
        """The rows of a step. `score` is asked for what the selector wants.

        RuntimeError when the selector takes no row of very many batches."""
        rows = int(self.schedule.rows[step])
        if self.selector is None:
            number = self._take_number()
            batch = self.read(number)
            return Drawn(batch, np.ones(len(batch)), (number,), float(batch.learned.sum()), {})
        parts, self.waiting = self.waiting, []
        choices: list[Chosen] = []
        looked = empty = 0
        while sum(map(len, parts)) < rows:
            if empty == _MOST_BATCHES:
                raise RuntimeError(
                    f"step {step + 1}: the selection took none of the rows of {empty:,} batches; loosen it"
                )
            number = self._take_number()
            candidates = self.read(number)
            scores = score(candidates, self.selector.wants(candidates))
            choices.append(self.selector.choose(candidates, scores, rows, number))
            looked += len(candidates)
            empty = 0 if len(choices[-1].index) else empty + 1
            parts.append(_part(number, choices[-1], candidates))
        parts, self.waiting = _split(parts, rows)
        batch = Batch.joined([part.rows(self.read(part.number)) for part in parts])
        weights = np.concatenate([part.weight for part in parts])
        targets = float(sum(part.targets.sum() for part in parts))
        numbers = tuple(dict.fromkeys(part.number for part in parts))
        weigh = choices[-1].weigh if choices else None
        return Drawn(batch, weights, numbers, targets, _told(choices, looked), weigh)

    def read(self, number: int) -> Batch:
        """The candidates of one batch."""
        if self._last is None or self._last[0] != number:
            self._last = number, self.ahead.read(number)
        return self._last[1]

    def skip(self, numbers: Iterable[int]) -> None:
        """These batches will not come; call it on a state from before them. Rows of them that wait are
        dropped; what a selector learned from rows that were trained on stays."""
        self.skipped |= set(numbers)
        self.waiting = [part for part in self.waiting if part.number not in self.skipped]

    def _take_number(self) -> int:
        while self.number in self.skipped:
            self.number += 1
        self.number += 1
        return self.number - 1

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """For a checkpoint: what JSON holds, and arrays."""
        arrays = {} if self.selector is None else dict(self.selector.state())
        for k, part in enumerate(self.waiting):
            held = {name: getattr(part, name) for name in _PARTS}
            arrays |= {f"waiting.{k}.{name}": one for name, one in held.items() if one is not None}
        waiting = [part.number for part in self.waiting]
        return {"number": self.number, "skipped": sorted(self.skipped), "waiting": waiting}, arrays

    def restore(self, plain: dict[str, Any], arrays: Arrays) -> None:
        """Goes on from a state. Batches that are skipped by now are added to those that were then."""
        self.number = plain["number"]
        self.waiting = [
            _Part(number, *(arrays.get(f"waiting.{k}.{name}") for name in _PARTS))  # type: ignore[arg-type]
            for k, number in enumerate(plain["waiting"])
        ]
        self.skip(plain["skipped"])
        if self.selector is not None:
            self.selector.restore(arrays)


def _part(number: int, found: Chosen, candidates: Batch) -> _Part:
    part = _Part(number, found.index, found.weight, np.zeros(0), found.keep)
    targets = part.rows(candidates).learned if found.targets is None else found.targets
    return replace(part, targets=targets.astype(np.float64))


def _split(parts: Sequence[_Part], rows: int) -> tuple[list[_Part], list[_Part]]:
    """The first rows, and what is left over."""
    taken: list[_Part] = []
    left: list[_Part] = []
    for part in parts:
        room = max(0, rows - sum(map(len, taken)))
        taken.append(part.cut(slice(room)))
        left.append(part.cut(slice(room, None)))
    return [part for part in taken if len(part)], [part for part in left if len(part)]


def _told(choices: Sequence[Chosen], looked: int) -> dict[str, float]:
    """Means over the choices of a step; how many rows were looked at, and which share of them was chosen."""
    told: list[Mapping[str, float]] = [found.told or {} for found in choices]
    names = dict.fromkeys(name for one in told for name in one)
    means = {name: float(np.mean([one[name] for one in told if name in one])) for name in names}
    chosen = sum(len(found.index) for found in choices)
    return {**means, "looked_at": float(looked), **({"kept": chosen / looked} if looked else {})}
