"""Tokens of many documents on disk: all of them one after the other, and where each ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpu_ops.trainer.batch import Ints
from gpu_ops.trainer.files import placed, write_array


@dataclass(frozen=True)
class TokenFile:
    """ids: int32, mapped, not read. starts, lengths: (documents,) of each one's tokens among them."""

    ids: np.ndarray
    starts: Ints
    lengths: Ints

    def document(self, number: int) -> np.ndarray:
        """The ids of one."""
        return self.ids[self.starts[number] : self.starts[number] + self.lengths[number]]


def written(path: Path) -> bool:
    """Whether `write_tokens` has ended there."""
    return path.with_suffix(".ends.npy").exists()


def write_tokens(path: Path, documents: Iterable[np.ndarray]) -> None:
    """Writes int32 ids of documents, one at a time: `.ids` and, last, `.ends.npy`."""
    lengths: list[int] = []
    with placed(path.with_suffix(".ids")) as file:
        for ids in documents:
            lengths.append(len(ids))
            file.write(np.asarray(ids, np.int32).tobytes())
    write_array(path.with_suffix(".ends.npy"), np.cumsum(lengths))


def read_tokens(path: str) -> TokenFile:
    """What was written under this path (without suffix)."""
    ends = np.load(f"{path}.ends.npy")
    lengths = np.diff(ends, prepend=0)
    return TokenFile(np.memmap(f"{path}.ids", np.int32, "r"), ends - lengths, lengths)
