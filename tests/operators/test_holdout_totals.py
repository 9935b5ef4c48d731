"""Documents by group."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.holdout_totals import HoldoutTotals


def test_groups_and_everything_are_counted_apart() -> None:
    table = pa.table({"/sizes.group": pa.array([0, 5, 5, 0, 0], pa.uint64())})
    for batch_rows in (1, 2, 9):
        out = run(HoldoutTotals(), table, batch_rows)
        assert out["total"].to_pylist() == [3, 2, 2, 3, 3]
        assert out["every"].to_pylist() == [5] * 5
