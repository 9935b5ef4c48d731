"""The least draw of a group."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from operators.holdout_least import HoldoutLeast
from operators.kernels.counter import uniform


def test_giants_have_no_say() -> None:
    lead = np.arange(4, dtype=np.uint64)
    table = pa.table(
        {
            "/sizes.size": pa.array([1, 1, 50, 1], pa.int64()),
            "/sizes.lead": pa.array(lead),
            "/sizes.group": pa.array([1, 1, 2, 3], pa.uint64()),
            "/totals.total": pa.array([60, 60, 60, 1], pa.int64()),
        }
    )
    drawn = uniform(4, lead)
    for batch_rows in (1, 9):
        least = run(HoldoutLeast(split_seed=4), table, batch_rows)["least"].to_pylist()
        assert least == [min(drawn[:2]), min(drawn[:2]), 2.0, 2.0]
