"""One round of labels."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.cluster_spread import ClusterSpread


def test_labels_travel_both_ways_and_twins_belong() -> None:
    table = pa.table(
        {
            "/same.twin": pa.array([None, None, None, 1, None], pa.int64()),
            "/same.twinned": [False, True, False, False, False],
            "/verify.edges": pa.array([[2], [], [1], [], []], pa.list_(pa.int64())),
            "/followed.followed": [False, True, True, False, False],
        }
    )
    for batch_rows in (1, 2, 9):
        assert run(ClusterSpread(), table, batch_rows)["label"].to_pylist() == [0, 1, 0, 1, 4]
        later = table.append_column("last.spread.label", pa.array([0, 1, 0, 1, 4], pa.int64()))
        assert run(ClusterSpread(first=False), later, batch_rows)["label"].to_pylist() == [0, 0, 0, 0, 4]
