"""Which of a row's messages another message shares its key with: one byte a key."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.lists import listed


def at_most_two(many: pa.Array, starts: npt.NDArray[np.int64]) -> pa.Array:
    """Of every run of `many` (uint8; run i begins at starts[i]) the sum, but not more than 2."""
    sums = np.add.reduceat(np.asarray(many).astype(np.int64), starts)
    return pa.array(np.minimum(sums, 2).astype(np.uint8))


def shared_numbers(replies: pa.RecordBatch, rows: int) -> pa.Array:
    """list<int32> (rows,): the numbers of each row's messages (`row`, ascending) with `many` over 1."""
    row, many = np.asarray(replies.column("row")), np.asarray(replies.column("many"))
    counts = np.bincount(row, minlength=rows)
    number = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    shared = many > 1
    return listed(np.bincount(row[shared], minlength=rows), number[shared], pa.int32())


def earliest(messages: pa.RecordBatch, starts: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
    """The least (`first`, `start`) of every run of messages (run i begins at starts[i])."""
    uid, start = np.asarray(messages.column("first")), np.asarray(messages.column("start"))
    first = np.minimum.reduceat(uid, starts)
    lengths = np.diff(np.append(starts, len(uid)))
    mine = np.where(uid == np.repeat(first, lengths), start, np.iinfo(np.int32).max)
    return {"first": pa.array(first), "start": pa.array(np.minimum.reduceat(mine, starts), pa.int32())}
