"""Sampling in proportion to the loss, with weights that leave hard rows more than their share."""

from __future__ import annotations

import numpy as np

from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.select.recent import LastLosses
from gpu_ops.trainer.select.sampling import below, effective_size, luck, normalised, tau, with_replacement
from gpu_ops.trainer.select.selector import LOSS, NOTHING, Arrays, Chosen, Floats, Scores, Selector

_STREAM = 0x626C6F7373  # keeps apart from other selectors that share a seed


class BiasedLoss(Selector):
    """Katharopoulos & Fleuret 2017, 'Biased Importance Sampling for Deep Neural Network Training' (arXiv
    1706.00043): of N presampled rows, b are drawn with replacement by p ~ s = loss + c and weigh (1 / (N
    p))^k, rescaled so that sum w s is what it is for k = 1 (as in the authors' code). k = 1 is unbiased,
    below it the objective leans towards the largest losses, 0 weighs all drawn rows alike.

    Losses are fresh, from a forward pass over all N, or the last that was seen of each row (`history`):
    nothing is spent on those; rows that were never seen count as the mean of the others. With `cap` rows
    above that percentile of the candidates' losses are never drawn.

    What to expect: k < 1 optimises another objective. Of uniform sampling's speed to a training loss half
    (`workflows/in_loop.py`); after as many trained rows, a third of those that were looked at, test errors of
    -.005 +- .002, +.004 and +.009 against uniform's on three text sets with right labels.
    """

    def __init__(
        self, seed: int, exponent: float, smoothing: float, history: bool, cap: float | None
    ) -> None:
        self.seed, self.exponent, self.smoothing, self.cap = seed ^ _STREAM, exponent, smoothing, cap
        self.observes = LOSS
        self._history = LastLosses() if history else None

    def wants(self, batch: Batch) -> frozenset[str]:
        return LOSS if self._history is None else NOTHING

    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        loss = scores.of("loss") if self._history is None else self._known(self._history.get(batch.rows))
        p = normalised((loss + self.smoothing) * below(loss, self.cap))
        index = with_replacement(p, luck(self.seed, number, rows))
        weight = rescaled(p[index], len(batch), self.exponent)
        told = {"tau": tau(p), "ess": len(p) / tau(p) ** 2, "ess_drawn": effective_size(weight)}
        targets = np.full(rows, batch.learned.sum() / max(1, len(batch)))
        return Chosen(index, weight, targets=targets, told=told)

    def learn(self, batch: Batch, seen: Scores) -> None:
        if self._history is not None:
            self._history.put(batch.rows, seen.of("loss"))

    def _known(self, loss: Floats) -> Floats:
        known = np.isfinite(loss)
        return np.where(known, loss, loss[known].mean() if known.any() else 1.0)

    def state(self) -> Arrays:
        return {} if self._history is None else self._history.state()

    def restore(self, state: Arrays) -> None:
        if self._history is not None:
            self._history.restore(state)


def rescaled(p: Floats, among: int, exponent: float) -> Floats:
    """(k,) the weights of rows that were drawn with these probabilities among so many."""
    unbiased = 1 / (among * p)
    biased = unbiased**exponent
    return np.asarray(biased * (unbiased @ p) / (biased @ p), np.float64)
