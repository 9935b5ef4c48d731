"""Self-paced learning: easy rows first, harder ones as training goes on, the hardest perhaps never."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.select.recent import Ring
from gpu_ops.trainer.select.selector import LOSS, NOTHING, Arrays, Chosen, Floats, Scores, Selector
from operators.kernels.pacing import Pacing

Weights = Literal["hard", "linear", "logarithmic", "mixture"]

_Z = 0.1  # of the logarithmic weights


class SelfPaced(Selector):
    """Kumar, Packer & Koller 2010, 'Self-Paced Learning for Latent Variable Models': minimise sum v L -
    lambda sum v over the model and the weights v, alternately; for the weights, v = 1 where L <= lambda, else
    0. lambda grows. Here it is the loss that a share of the last `ring` losses lies at or below, which is how
    it is set in practice (Jiang et al. 2014, 'Self-Paced Learning with Diversity'); the share grows from
    `start` to `cap` over `grow` steps, after `warmup` steps with all rows, as competence does: c(t)^power
    linear. Rows above the share `cap` are never learned from, which is what helps against wrong labels.

    Soft weights (Jiang et al. 2014, 'Easy Samples First', section 3): linear, 1 - L / lambda; logarithmic,
    log(L' + z) / log z with z = 0.1 and L' = (1 - z) L / lambda; mixture, 1 up to lambda / 2, then
    lambda / L - 1 down to 0 at lambda.

    Losses: a forward pass over the candidates, and batches of rows with v > 0 are gathered; or (`own`) those
    of the step's own forward pass, by which its rows are weighed: that costs nothing, and rows with v = 0
    were computed for nothing.

    A model that prefers a class finds all of its rows easy, and learns no other. With `by_class` each class
    has a lambda, the same share of its own last losses (the groups of 'Learning with Diversity'): use it.

    What to expect (`workflows/self_paced.py`, two text sets of two classes, cap 0.7): with 40 % of the labels
    wrong errors of .128 and .324 by class against .252 and .366 on all rows, but .181 and .441 over all
    classes together; with 20 % no difference; without wrong labels .109 and .266 against .091 and .249. So
    choose the cap by held-out errors. The soft weights were worse (linear) or not measured.
    """

    def __init__(
        self,
        start: float,
        cap: float,
        grow: int,
        warmup: int,
        power: float,
        weights: Weights,
        own: bool,
        ring: int,
        by_class: bool,
    ) -> None:
        self.start, self.cap, self.grow, self.warmup, self.power = start, cap, grow, warmup, power
        self.weights, self.own, self.by_class = weights, own, by_class
        self.observes = LOSS if own else NOTHING
        self._ring, self._classes = Ring(ring), Ring(ring)
        self._steps = 0

    @property
    def share(self) -> float:
        """Of the last losses that are learned from in this step."""
        if self._steps < self.warmup:
            return 1.0
        t = (self._steps - self.warmup) / max(1, self.grow)
        return float(Pacing(kind="competence", start=self.start, power=self.power).values(t, self.cap))

    def wants(self, batch: Batch) -> frozenset[str]:
        return NOTHING if self.own else LOSS

    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        every = np.arange(len(batch))
        share = self.share
        if self.own:
            one = self._ring.quantile(share) if share < 1 else np.inf
            weigh = partial(eased, most=one, weights=self.weights)
            return Chosen(every, np.ones(len(batch)), weigh=weigh, told=_told(share, one))
        loss = scores.of("loss")
        most = self._most(share, batch, loss)
        v = eased(loss, most, self.weights)
        index = np.flatnonzero(v)
        return Chosen(index, v[index], told={**_told(share, float(most.mean())), "v": float(v.mean())})

    def _most(self, share: float, batch: Batch, loss: Floats) -> Floats:
        """(R,) the lambda of each row, these losses included; infinite where nothing is left out."""
        if self.by_class and batch.targets.ndim != 1:
            raise ValueError("by_class: these rows have no class; only classification has them")
        classes = batch.targets if self.by_class else np.zeros(len(batch), np.int64)
        self._ring.add(loss)
        self._classes.add(classes.astype(np.float64))
        most = np.full(len(batch), np.inf)
        if share < 1:
            for one in np.unique(classes):
                most[classes == one] = np.quantile(self._ring.values[self._classes.values == one], share)
        return most

    def learn(self, batch: Batch, seen: Scores) -> None:
        self._steps += 1
        if self.own:
            self._ring.add(seen.of("loss"))

    def state(self) -> Arrays:
        more = {"steps": np.array([self._steps]), "classes": self._classes.values}
        return {**self._ring.state(), **more}

    def restore(self, state: Arrays) -> None:
        self._ring.restore(state)
        self._classes.restore({"ring": state["classes"]})
        self._steps = int(state["steps"][0])


def _told(share: float, most: float) -> dict[str, float]:
    return {"share": share, **({"lambda": most} if np.isfinite(most) else {})}


def eased(loss: Floats, most: float | Floats, weights: Weights) -> Floats:
    """(n,) v: 1 where nothing is left out (`most`, the lambda, is infinite), 0 above it."""
    most = np.broadcast_to(np.asarray(most, np.float64), loss.shape)
    within = (loss <= most).astype(np.float64)
    soft = np.isfinite(most) & (most > 0)
    x = np.where(soft, np.minimum(loss / np.where(soft, most, 1.0), 1.0), 0.0)
    if weights == "hard":
        v = np.ones(len(loss))
    elif weights == "linear":
        v = 1 - x
    elif weights == "logarithmic":
        v = np.log((1 - _Z) * x + _Z) / np.log(_Z)
    elif weights == "mixture":
        v = np.minimum(1.0, 1 / np.maximum(x, 0.5) - 1)
    else:
        raise AssertionError(weights)
    return np.asarray(np.clip(v, 0, 1) * within, np.float64)
