"""Counting up to two, and the earliest of each run."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from operators.kernels.twice import at_most_two, earliest, shared_numbers


def test_counts_stop_at_two_and_do_not_wrap() -> None:
    many = pa.array(np.array([1, 2, 1] + [2] * 200, np.uint8))
    assert at_most_two(many, np.array([0, 1, 2, 3])).to_pylist() == [1, 2, 1, 2]
    assert at_most_two(many, np.array([0])).to_pylist() == [2]


def test_numbers_count_from_zero_in_every_row() -> None:
    replies = pa.RecordBatch.from_pydict(
        {"row": pa.array([0, 0, 2, 2, 2], pa.int64()), "many": pa.array([1, 2, 2, 1, 2], pa.uint8())}
    )
    assert shared_numbers(replies, 4).to_pylist() == [[1], [], [0, 2], []]
    assert shared_numbers(replies.slice(0, 0), 2).to_pylist() == [[], []]


def test_the_earliest_is_the_least_place_of_the_least_uid() -> None:
    messages = pa.RecordBatch.from_pydict(
        {"first": pa.array([5, 3, 3, 9], pa.int64()), "start": pa.array([0, 8, 7, 1], pa.int32())}
    )
    out = earliest(messages, np.array([0, 3]))
    assert (out["first"].to_pylist(), out["start"].to_pylist()) == ([3, 9], [7, 1])
