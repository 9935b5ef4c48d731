"""Who is asked for, and whose text is needed."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.near_followed import NearFollowed


def test_candidates_are_followed() -> None:
    table = pa.table(
        {
            "/near.near": pa.array([[], [0], [0], None, []], pa.list_(pa.int64())),
            "/near.bucketed": [True, True, True, False, True],
        }
    )
    for batch_rows in (1, 2, 9):
        out = run(NearFollowed(), table, batch_rows)
        assert out["followed"].to_pylist() == [True, False, False, False, False]
        assert out["paired"].to_pylist() == [True, True, True, False, False]
