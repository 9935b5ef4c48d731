"""A selector whose scores belong to other rows: what it gains is not the method's doing."""

from __future__ import annotations

import numpy as np

from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.select.sampling import luck
from gpu_ops.trainer.select.selector import Arrays, Chosen, Floats, Ints, Scores, Selector

_STREAM = 0x706C616365  # keeps apart from the selector's own draws


class Placebo(Selector):
    """Another selector, that sees every score at the place of another row of the same batch, before the
    choice and after it. It draws as that one does, from the same numbers, and costs as much."""

    def __init__(self, seed: int, real: Selector) -> None:
        self.seed, self._real = seed ^ _STREAM, real
        self.observes = real.observes
        self._steps = 0

    def wants(self, batch: Batch) -> frozenset[str]:
        return self._real.wants(batch)

    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        found = self._real.choose(batch, _dealt(scores, self._order(2 * number, len(batch))), rows, number)
        weigh = found.weigh
        if weigh is None:
            return found

        def dealt(loss: Floats) -> Floats:
            return np.asarray(weigh(loss[self._order(2 * number, len(loss))]), np.float64)

        return Chosen(found.index, found.weight, found.keep, found.targets, dealt, found.told)

    def learn(self, batch: Batch, seen: Scores) -> None:
        self._real.learn(batch, _dealt(seen, self._order(2 * self._steps + 1, len(batch))))
        self._steps += 1

    def _order(self, number: int, count: int) -> Ints:
        return np.argsort(luck(self.seed, number, count), kind="stable")

    def state(self) -> Arrays:
        return {**self._real.state(), "placebo_steps": np.array([self._steps])}

    def restore(self, state: Arrays) -> None:
        self._steps = int(state["placebo_steps"][0])
        self._real.restore(state)


def _dealt(scores: Scores, order: Ints) -> Scores:
    return Scores(**{name: None if one is None else one[order] for name, one in vars(scores).items()})
