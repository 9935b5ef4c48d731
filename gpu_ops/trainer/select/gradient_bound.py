"""Importance sampling by a bound of the gradient, while that is worth its cost."""

from __future__ import annotations

import numpy as np

from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.select.sampling import below, effective_size, luck, normalised, tau, with_replacement
from gpu_ops.trainer.select.selector import NOTHING, Arrays, Chosen, Scores, Selector

_STREAM = 0x6267726164  # keeps apart from other selectors that share a seed


class GradientBound(Selector):
    """Katharopoulos & Fleuret 2018, 'Not All Samples Are Created Equal' (arXiv 1803.00942), algorithm 1: of B
    presampled rows, b are drawn with replacement in proportion to g, the bound of their gradients, and weigh
    1 / (B g): the expected gradient is the mean over the B. On while tau, averaged with `momentum`, is above
    `min_tau`.

    While it is off, the rows are those that training without it would take, in the same order, and no
    forward pass is spent: the B rows of a batch last for B / b steps, and tau comes from the bounds that the
    step's own forward pass gives for its b rows (dropout included). While it is on, tau comes from the B.
    With `cap` rows above that percentile of the candidates' losses are never drawn, and what is unbiased is
    the gradient of the others.

    What to expect: little. Of three text sets under a small classifier (`workflows/in_loop.py`) tau passed 2
    on one, where a training loss of uniform sampling's was reached at .79 of its speed, all costs counted; on
    the two others, and on a language model (tau 1.00), it stays off and costs nothing.
    """

    def __init__(self, seed: int, min_tau: float, momentum: float, cap: float | None) -> None:
        self.seed, self.min_tau, self.momentum, self.cap = seed ^ _STREAM, min_tau, momentum, cap
        self.observes = frozenset({"bound"})
        self._tau = 0.0
        self._presampled = False  # in this step: then its own rows do not count

    @property
    def on(self) -> bool:
        return self._tau > self.min_tau

    def wants(self, batch: Batch) -> frozenset[str]:
        if not self.on:
            return NOTHING
        return frozenset({"bound"}) if self.cap is None else frozenset({"bound", "loss"})

    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        every = len(batch)
        if scores.bound is None:
            return Chosen(np.arange(every), np.ones(every), told={"tau": self._tau, "on": 0.0})
        size = scores.bound if self.cap is None else scores.bound * below(scores.of("loss"), self.cap)
        g = normalised(size)
        now = tau(g)
        self._follow(now)
        self._presampled = True
        index = with_replacement(g, luck(self.seed, number, rows))
        weight = 1 / (every * g[index])
        told = {"tau": self._tau, "tau_now": now, "ess": every / now**2, "on": 1.0}
        told["ess_drawn"] = effective_size(weight)
        return Chosen(index, weight, targets=np.full(rows, batch.learned.sum() / every), told=told)

    def learn(self, batch: Batch, seen: Scores) -> None:
        if not self._presampled:
            self._follow(tau(normalised(seen.of("bound"))))
        self._presampled = False

    def _follow(self, now: float) -> None:
        self._tau = self.momentum * self._tau + (1 - self.momentum) * now

    def state(self) -> Arrays:
        return {"tau": np.array([self._tau])}

    def restore(self, state: Arrays) -> None:
        self._tau = float(state["tau"][0])
