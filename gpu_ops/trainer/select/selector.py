"""The shape of a selector: it sees candidates, says which are trained on, and learns from their losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_ops.trainer.batch import Batch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Scores:
    """What an extra forward pass said of the candidates, (R,) each: `loss`, the mean over a row's targets;
    `bound`, the bound of its gradient; `reference`, its mean loss under the reference model. A selector gets
    what it `needs`, the others are None."""

    loss: Floats | None = None
    bound: Floats | None = None
    reference: Floats | None = None


@dataclass(frozen=True)
class Chosen:
    """index: (k,) rows of the candidates; one may come more than once. weight: (k,) that their losses are
    multiplied by. keep: (k, T) bool, targets that are learned from; None is all. told: figures of this choice
    for the log, such as tau."""

    index: Ints
    weight: Floats
    keep: npt.NDArray[np.bool_] | None = None
    told: Mapping[str, float] | None = None


class Selector(ABC):
    """A rule that chooses rows. It holds what it learned between steps, and nothing random: what it draws is
    a function of (seed, number of the batch), so a run that is resumed draws the same."""

    needs: frozenset[str] = frozenset()
    """Of loss, bound and reference: what has to be computed of every candidate; each costs a forward pass
    of the model (or of the reference), which is counted."""

    candidates: int = 1
    """Rows that are looked at for one row of a step."""

    @abstractmethod
    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        """Of the candidates of batch `number`, those to train on. With fewer than `rows` the next batch is
        looked at too, what is more than that waits for the next step."""

    @abstractmethod
    def learn(self, batch: Batch, losses: Floats) -> None:
        """The rows that a step trained on and their mean losses, from its own forward pass."""

    @abstractmethod
    def state(self) -> Arrays:
        """What it learned, for a checkpoint."""

    @abstractmethod
    def restore(self, state: Arrays) -> None:
        """Goes on from `state`."""
