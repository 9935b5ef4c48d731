"""Clusters know their size, name and group."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.holdout_sizes import HoldoutSizes
from operators.kernels.hash128 import hash_text


def test_the_least_key_leads() -> None:
    table = pa.table(
        {
            "key": pa.array([9, 4, 7], pa.uint64()),
            "/clusters.cluster": pa.array([0, 0, 2], pa.int64()),
            "domain": ["a", "b", None],
        }
    )
    names = hash_text(pa.array(["b", "b", None], pa.large_string()))[0]
    for batch_rows in (1, 3):
        out = run(HoldoutSizes(by="domain"), table, batch_rows)
        assert out["size"].to_pylist() == [2, 2, 1]
        assert out["lead"].to_pylist() == [4, 4, 7]
        assert out["group"].to_pylist() == names.tolist()
    assert run(HoldoutSizes(), table)["group"].to_pylist() == [0, 0, 0]
