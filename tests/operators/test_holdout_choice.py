"""Which clusters are taken."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from operators.holdout_choice import HoldoutChoice
from operators.kernels.counter import uniform


def table(n: int, least: float) -> pa.Table:
    return pa.table(
        {
            "/sizes.size": pa.array([1] * n, pa.int64()),
            "/sizes.lead": pa.array(range(n), pa.uint64()),
            "/totals.total": pa.array([n] * n, pa.int64()),
            "/totals.every": pa.array([n] * n, pa.int64()),
            "/least.least": pa.array([least] * n, pa.float64()),
        }
    )


def test_under_the_share_or_least_of_the_group() -> None:
    drawn = uniform(0, np.arange(50, dtype=np.uint64))
    held = run(HoldoutChoice(share=0.3), table(50, 0.0))["drop"].is_valid().to_pylist()
    assert held == (drawn < 0.3).tolist()
    held = run(HoldoutChoice(share=None, docs=10), table(50, 0.0))["drop"].is_valid().to_pylist()
    assert held == (drawn < 0.2).tolist()
    held = run(HoldoutChoice(share=1e-9), table(50, float(drawn.min())))["drop"].is_valid().to_pylist()
    assert held == (drawn == drawn.min()).tolist()
