"""A small assistant learns beside the model which rows it has nothing to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_ops.kernels.assistant import gram_matrix, sure, token_grams
from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.select.recent import Ring
from gpu_ops.trainer.select.sampling import luck
from gpu_ops.trainer.select.selector import LOSS, NOTHING, Arrays, Chosen, Floats, Scores, Selector

_STREAM = 0x6173736973  # keeps apart from other selectors that share a seed
_CLASSES = 4096  # coefficients of classes; of more, some share one
_EPSILON = 1e-8


class AutoAssist(Selector):
    """Zhang, Yu & Dhillon 2019, 'AutoAssist' (arXiv 1905.03381): a row is not trivial if its loss is above
    the mean minus one standard deviation of the last losses; a logistic model says p of that from what the
    row looks like, sigmoid(W x + U[y] + c) for a class y, and the row stays with the probability gamma + (1 -
    gamma) p. It learns from the losses of the step's own forward pass: no model is asked, so a row that goes
    costs nothing. x: hashed n-grams of token ids, log(1 + count), of length 1; or the features themselves, of
    length 1. Adagrad, one step for each step of the model. Until `warm` rows were learned from, all stay.

    With `weigh` rows weigh 1 / (the probability with which they stayed), and a step has the weighted mean,
    which estimates that of all rows; without it, as in the paper, the objective leans towards what is hard.
    `auc` in the log: how well p, from before a row was trained on, told whether its loss would be above the
    median of the last ones; of rows that stayed.

    What to expect: no saving. A classifier's losses are so skewed that few lie below the mean minus a
    deviation: .97, .96 and .86 of the rows stay on three text sets, as many as with a placebo. Of a language
    model's rows .89 stay; with 70 % of the tokens it loses 3.4 and 3.0 %, just as random rows do
    (`workflows/in_loop.py`).
    """

    def __init__(
        self,
        seed: int,
        gamma: float,
        orders: Sequence[int],
        buckets: int,
        rate: float,
        ring: int,
        warm: int,
        weigh: bool,
    ) -> None:
        self.seed, self.gamma, self.orders, self.buckets = seed ^ _STREAM, gamma, tuple(orders), buckets
        self.rate, self.warm, self.weigh = rate, warm, weigh
        self.observes = LOSS
        self._ring, self._said = Ring(ring), Ring(ring)
        self._learned = 0
        self._coef = np.zeros(0)  # features, then classes, then one for all
        self._squares = np.zeros(0)

    def wants(self, batch: Batch) -> frozenset[str]:
        return NOTHING

    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        p = self._p(self._features(batch), batch)
        stays = self.gamma + (1 - self.gamma) * p if self._learned >= self.warm else np.ones(len(batch))
        index = np.flatnonzero(luck(self.seed, number, len(batch)) < stays)
        told = {"p_nontrivial": float(p.mean()), "expected_kept": float(stays.mean()), "auc": self._auc()}
        weight, targets = np.ones(len(index)), None
        if self.weigh:
            weight = 1 / stays[index]
            targets = batch.learned[index] * weight
        return Chosen(index, weight, targets=targets, told=told)

    def learn(self, batch: Batch, seen: Scores) -> None:
        loss, x = seen.of("loss"), self._features(batch)
        p = self._p(x, batch)
        self._ring.add(loss)
        self._said.add(p)
        self._learned += len(loss)
        off = p - (loss > self._ring.mean - self._ring.std)
        slope = np.zeros_like(self._coef)
        slope[: -_CLASSES - 1] = x.T @ off
        np.add.at(slope, len(slope) - 1 - _CLASSES + _classes(batch), off if batch.targets.ndim == 1 else 0)
        slope[-1] = off.sum()
        self._squares += np.square(slope)
        self._coef -= self.rate * slope / (np.sqrt(self._squares) + _EPSILON)

    def _features(self, batch: Batch) -> Any:
        """(R, D) of length 1: sparse n-grams of tokens, or dense features."""
        if np.issubdtype(batch.inputs.dtype, np.integer):
            width = batch.inputs.shape[1]
            lengths = np.full(len(batch), width) if batch.lengths is None else batch.lengths
            grams = token_grams(batch.inputs.astype(np.int64), lengths, self.orders, self.buckets)
            x = gram_matrix(*grams, self.buckets)
        else:
            dense = np.asarray(batch.inputs, np.float64).reshape(len(batch), -1)
            x = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), _EPSILON)
        if not len(self._coef):
            self._coef, self._squares = (np.zeros(x.shape[1] + _CLASSES + 1) for _ in range(2))
        return x

    def _p(self, x: Any, batch: Batch) -> Floats:
        apart = self._coef[-_CLASSES - 1 : -1][_classes(batch)] if batch.targets.ndim == 1 else 0.0
        return sure(x, self._coef[: -_CLASSES - 1], apart + self._coef[-1])

    def _auc(self) -> float:
        """The probability that p was larger for a loss above the median than for one below; 0.5 of none."""
        high = self._ring.values > self._ring.quantile(0.5)
        if not high.any() or high.all():
            return 0.5
        return float(self._said.rank_among(high))

    def state(self) -> Arrays:
        kept = {"learned": np.array([self._learned]), "coef": self._coef, "squares": self._squares}
        return {**kept, "ring": self._ring.values, "said": self._said.values}

    def restore(self, state: Arrays) -> None:
        self._learned = int(state["learned"][0])
        self._coef, self._squares = (np.array(state[name], np.float64) for name in ("coef", "squares"))
        self._ring.restore({"ring": state["ring"]})
        self._said.restore({"ring": state["said"]})


def _classes(batch: Batch) -> Any:
    """(R,) the coefficient of each row's class; of rows without one, whichever."""
    return batch.targets.reshape(len(batch), -1)[:, 0] % _CLASSES
