"""Twins."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.same_shingles import SameShingles


def test_the_first_in_keep_order_has_twins() -> None:
    table = pa.table(
        {
            "/rank.tier": pa.array([0, 0, 0, 1, 0], pa.uint16()),
            "/rank.rank": pa.array([5, 1, 1, 0, 0], pa.uint64()),
            "/signature.same_low": pa.array([7, 7, 7, 7, 0], pa.uint64()),
            "/signature.same_high": pa.array([1, 1, 1, 2, 0], pa.uint64()),
            "/signature.shingles": pa.array([3, 3, 3, 3, 0], pa.int32()),
        }
    )
    for batch_rows in (1, 2, 5):
        out = run(SameShingles(), table, batch_rows)
        assert out["twin"].to_pylist() == [1, None, 1, None, None]
        assert out["twinned"].to_pylist() == [False, True, False, False, False]
