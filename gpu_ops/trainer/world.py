"""The processes that train one model together; one alone where nothing says otherwise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_ops.trainer.batch import Batch

Floats = npt.NDArray[np.float64]
Tensors = Mapping[str, torch.Tensor]
WHOLE = "whole.safetensors"  # the file of tensors that one process has written


class World(ABC):
    """This process, number `rank` among `size`. Every process knows the whole of a step and works on its own
    part of it, so that what is trained does not depend on how many there are.

    What is said of all processes has to be called by all of them, in the same order."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def own(self, batch: Batch) -> npt.NDArray[np.int64]:
        """The rows of a batch that this process works on, ascending. Every process has as many, at least one:
        where they do not divide, its last row is one that does not count."""
        return self._own(len(batch))[0]

    def weights(self, weights: Floats) -> Floats:
        """Of all rows' weights those of its own; 0 for one that does not count."""
        own, counts = self._own(len(weights))
        return weights[own] * counts

    def _own(self, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Its rows, and which of them count."""
        starts = self._starts(rows)
        places = starts[self.rank] + np.arange(-(-rows // self.size))
        return np.minimum(places, rows - 1), places < starts[self.rank + 1]

    def _starts(self, rows: int) -> npt.NDArray[np.int64]:
        """(size + 1,) where the rows of each process begin."""
        whole, rest = divmod(rows, self.size)
        numbers = np.arange(self.size + 1)
        return numbers * whole + np.minimum(numbers, rest)

    @abstractmethod
    def wrap(self, network: Any) -> Any:
        """The model to call in training; `network` itself may be changed. All processes."""

    @abstractmethod
    def any(self, value: bool) -> bool:
        """Whether it is so for one of the processes. All processes."""

    @abstractmethod
    def total(self, value: float) -> float:
        """The sum of a number over the processes. All processes."""

    @abstractmethod
    def joined(self, values: Floats, rows: int) -> Floats:
        """(own rows, ...) of every process as one array of that many rows, in their order. All processes."""

    @abstractmethod
    def backward(self, model: Any, last: bool) -> AbstractContextManager[object]:
        """Around a forward and backward pass: gradients of the processes meet in the last one of a step."""

    @abstractmethod
    def whole(self, network: Any) -> AbstractContextManager[object]:
        """Around an evaluation, in which parts of `network` are called and its weights are looked at."""

    @abstractmethod
    def gathered(self, network: Any) -> dict[str, torch.Tensor] | None:
        """All weights, on the first process; None where `network` has them itself. All processes."""

    @abstractmethod
    def save(self, tensors: Tensors, folder: Path) -> None:
        """Writes tensors, which may be spread over the processes, to safetensors files. All processes."""

    @abstractmethod
    def load(self, tensors: Tensors, folder: Path) -> None:
        """Reads them in place, however many processes have written them. All processes."""

    @abstractmethod
    def wait(self) -> None:
        """Until every process is here. All processes."""


class Alone(World):
    """A single process."""

    rank, size = 0, 1

    def wrap(self, network: Any) -> Any:
        return network

    def any(self, value: bool) -> bool:
        return value

    def total(self, value: float) -> float:
        return value

    def joined(self, values: Floats, rows: int) -> Floats:
        return values

    def backward(self, model: Any, last: bool) -> AbstractContextManager[object]:
        return nullcontext()

    def whole(self, network: Any) -> AbstractContextManager[object]:
        return nullcontext()

    def gathered(self, network: Any) -> dict[str, torch.Tensor] | None:
        return None

    def save(self, tensors: Tensors, folder: Path) -> None:
        save_whole(tensors, folder)

    def load(self, tensors: Tensors, folder: Path) -> None:
        load_any(tensors, folder)

    def wait(self) -> None:
        return


def save_whole(tensors: Tensors, folder: Path) -> None:
    """Tensors that this process has in full, as one file."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / WHOLE)


@torch.no_grad()
def load_any(tensors: Tensors, folder: Path) -> None:
    """This process's part of each tensor, in place, from one file or from those of many processes."""
    from safetensors.torch import load_file

    if (folder / WHOLE).exists() and not any(hasattr(tensor, "to_local") for tensor in tensors.values()):
        stored = load_file(folder / WHOLE)
        for name, tensor in tensors.items():
            tensor.copy_(stored[name])
        return
    import warnings

    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with warnings.catch_warnings():  # it warns that each process reads by itself, which is meant
        warnings.simplefilter("ignore", UserWarning)
        reader = HuggingFaceStorageReader(str(folder))
        load({n: t.detach() for n, t in tensors.items()}, storage_reader=reader, no_dist=True)
