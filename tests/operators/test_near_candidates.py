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
            "/rank.tier": pa.array([r // 10 for r in rank], pa.uint16()),
            "/rank.rank": pa.array([r % 10 for r in rank], pa.uint64()),
            "/signature.bands": fixed(np.full((4, 2), 5, np.uint64)),
            "/signature.signature": fixed(signature),
            "/shared.shared": pa.array([[0], [0, 1], [1], [0]], pa.list_(pa.int16())),
        }
    )


def test_earlier_means_earlier_in_keep_order() -> None:
    for batch_rows in (1, 3, 9):
        first = run(NearCandidates(), table([0, 0, 0, 0]), batch_rows)["near"].to_pylist()
        assert first == [[], [0], [], [0, 1]]
        last = run(NearCandidates(), table([30, 2, 1, 0]), batch_rows)["near"].to_pylist()
        assert last == [[1, 3], [3], [], []]
