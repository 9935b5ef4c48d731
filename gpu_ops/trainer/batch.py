"""The rows of a step, and what gives them: any batch can be had at any time, from its place alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

IGNORED = -100  # a target that nothing is learned from

Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """R rows of at most T tokens.

    inputs: (R, T) tokens, or (R, D) vectors, each of which counts as one token. targets: (R, T) the tokens to
    predict, IGNORED where there is none; (R,) the classes of rows that are classified. rows: (R,) the number
    of each row in the data, the same in every epoch; -1 where an epoch cuts its rows anew. lengths: (R,)
    tokens of rows that are padded at the end. positions: (R, T) places within the own document, where
    documents do not see each other.
    """

    inputs: Ints | Vectors
    targets: Ints
    rows: Ints
    lengths: Ints | None = None
    positions: Ints | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def learned(self) -> Ints:
        """(R,) targets that each row is learned from."""
        return (self.targets != IGNORED).sum(axis=tuple(range(1, self.targets.ndim)))

    @property
    def tokens(self) -> int:
        """Tokens that the model reads, padding included."""
        return len(self) if self.inputs.dtype == np.float32 else self.inputs.size

    def take(self, index: npt.NDArray[np.integer]) -> Batch:
        """These rows, in this order; one may come more than once."""
        taken: dict[str, Any] = {n: None if a is None else a[index] for n, a in self._arrays().items()}
        return Batch(**taken)

    @staticmethod
    def joined(parts: Sequence[Batch]) -> Batch:
        """The rows of all, which must be of one kind; shorter ones are padded at the end."""
        if len(parts) == 1:
            return parts[0]
        width = max(part.inputs.shape[1] for part in parts)
        names = [name for name, array in parts[0]._arrays().items() if array is not None]
        return Batch(**{n: np.concatenate([_wide(getattr(p, n), n, width) for p in parts]) for n in names})

    def _arrays(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _wide(array: Ints, name: str, width: int) -> Ints:
    if array.ndim == 1 or array.shape[1] == width:
        return array
    fill = IGNORED if name == "targets" else 0
    return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=fill)


class Feed(Protocol):
    """Training data in a fixed, endless order. `unit` says what places count."""

    @property
    def unit(self) -> Literal["tokens", "rows"]:
        """What places count."""
        ...

    @property
    def size(self) -> int:
        """Units of one epoch."""
        ...

    @property
    def corpus_tokens(self) -> int:
        """Tokens of one epoch."""
        ...

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        """The rows from place `start` on: a pure function of the data, the seed and these numbers."""
        ...
