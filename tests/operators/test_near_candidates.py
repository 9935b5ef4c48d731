"""Candidates as a shuffle."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from operators.kernels.lists import fixed
from operators.near_candidates import NearCandidates


def table(rank: list[int]) -> pa.Table:
    """Four documents in one bucket; 0, 1 and 3 have equal signatures, 2 has none of their bytes."""
    signature = np.zeros((4, 128), np.uint8)
    signature[2] = 1
    return pa.table(
        {
            "/rank.rank": pa.array(rank, pa.uint64()),
            "/signature.bands": fixed(np.full((4, 2), 5, np.uint64)),
            "/signature.signature": fixed(signature),
            "/signature.shingles": pa.array([9, 9, 9, 9], pa.int32()),
            "/shared.shared": pa.array([[0], [0, 1], [1], [0]], pa.list_(pa.int16())),
        }
    )


def test_earlier_means_earlier_in_keep_order() -> None:
    for batch_rows in (1, 3, 9):
        first = run(NearCandidates(), table([0, 0, 0, 0]), batch_rows)["near"].to_pylist()
        assert first == [[], [0], [], [0, 1]]
        last = run(NearCandidates(), table([3, 2, 1, 0]), batch_rows)["near"].to_pylist()
        assert last == [[1, 3], [3], [], []]


def test_sizes_that_rule_a_pair_out() -> None:
    sizes = pa.array([9, 7, 9, 9], pa.int32())
    changed = table([0] * 4).drop_columns("/signature.shingles").append_column("/signature.shingles", sizes)
    assert run(NearCandidates(), changed)["near"].to_pylist() == [[], [], [], [0]]
