"""The shape of a selector: it sees candidates, says which are trained on, and learns from their losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_ops.trainer.batch import Batch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]
Weigh = Callable[[Floats], Floats]

NOTHING: frozenset[str] = frozenset()
LOSS = frozenset({"loss"})


@dataclass(frozen=True)
class Scores:
    """What a forward pass said of R rows: `loss`, (R,), the mean over a row's targets; `bound`, (R,), the
    bound of its gradient; `reference`, (R,), its mean loss under the reference model; `token_loss` and
    `token_reference`, (R, T), those of every target, 0 where there is none. What was not asked for is
    None."""

    loss: Floats | None = None
    bound: Floats | None = None
    reference: Floats | None = None
    token_loss: Floats | None = None
    token_reference: Floats | None = None

    def of(self, name: str) -> Floats:
        """The scores of that name, which were asked for."""
        found: Floats | None = getattr(self, name)
        if found is None:
            raise ValueError(f"the selector did not ask for {name!r}: `wants` or `observes` must name it")
        return found


@dataclass(frozen=True)
class Chosen:
    """index: (k,) rows of the candidates; one may come more than once. weight: (k,) that their losses are
    multiplied by. keep: (k, T) bool, targets that are learned from; None is all. targets: (k,) what each row
    adds to the number that a step's sum of losses is divided by; None is the targets that it is learned from.
    weigh: weights by the mean losses of the step's own forward pass, times `weight`. told: figures of this
    choice for the log, such as tau."""

    index: Ints
    weight: Floats
    keep: Bools | None = None
    targets: Floats | None = None
    weigh: Weigh | None = None
    told: Mapping[str, float] | None = None


class Selector(ABC):
    """A rule that chooses rows. It holds what it learned between steps, and nothing random: what it draws is
    a function of (seed, number of the batch), so a run that is resumed draws the same."""

    observes: frozenset[str] = NOTHING
    """Of loss and bound: what `learn` is told of the rows that a step trained on; this costs nothing."""

    @abstractmethod
    def wants(self, batch: Batch) -> frozenset[str]:
        """Names of Scores that have to be computed of these candidates before it can choose; each model that
        they need costs a forward pass, which is counted."""

    @abstractmethod
    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        """Of the candidates of batch `number`, those to train on. With fewer than `rows` the next batch is
        looked at too, what is more than that waits for the next step."""

    @abstractmethod
    def learn(self, batch: Batch, seen: Scores) -> None:
        """The rows that a step trained on, and what its own forward pass said of them."""

    @abstractmethod
    def state(self) -> Arrays:
        """What it learned, for a checkpoint."""

    @abstractmethod
    def restore(self, state: Arrays) -> None:
        """Goes on from `state`."""
