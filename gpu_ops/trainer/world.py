"""The processes that train one model together; one alone where nothing says otherwise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_ops.trainer.batch import Batch

Floats = npt.NDArray[np.float64]


class World(ABC):
    """This process, number `rank` among `size`. Every process knows the whole of a step and works on its own
    part of it, so that what is trained does not depend on how many there are."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def own(self, batch: Batch) -> npt.NDArray[np.int64]:
        """The rows of a batch that this process works on, ascending."""
        return np.array_split(np.arange(len(batch)), self.size)[self.rank]

    @abstractmethod
    def total(self, value: float) -> float:
        """The sum of a number over the processes."""

    @abstractmethod
    def joined(self, values: Floats) -> Floats:
        """(own rows, ...) of every process as one array in the order of the rows."""

    @abstractmethod
    def backward(self, model: Any, last: bool) -> AbstractContextManager[object]:
        """Around a backward pass: gradients of the processes meet in the last one of a step."""

    @abstractmethod
    def wait(self) -> None:
        """Until every process is here."""


class Alone(World):
    """A single process."""

    rank, size = 0, 1

    def total(self, value: float) -> float:
        return value

    def joined(self, values: Floats) -> Floats:
        return values

    def backward(self, model: Any, last: bool) -> AbstractContextManager[object]:
        return nullcontext()

    def wait(self) -> None:
        return
