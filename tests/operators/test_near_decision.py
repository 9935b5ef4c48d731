"""What twins inherit."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.near_decision import NearDecision

TABLE = pa.table(
    {
        "/same.twin": pa.array([None, 0, None, 2, None], pa.int64()),
        "/same.twinned": [True, False, True, False, False],
        "/partner.kept": pa.array([None, None, 0, None, None], pa.int64()),
        "/partner.similarity": pa.array([None, None, 0.5, None, None], pa.float32()),
        "/clusters.cluster": pa.array([0, 0, 0, 0, 4], pa.int64()),
    }
)


def test_a_twin_goes_for_its_first_or_for_whom_its_first_goes() -> None:
    for batch_rows in (1, 2, 9):
        out = run(NearDecision(), TABLE, batch_rows)
        assert out["kept"].to_pylist() == [None, 0, 0, 0, None]
        assert out["similarity"].to_pylist() == [None, 1.0, 0.5, 0.5, None]
        assert out["drop"].to_pylist() == [None, *["near_duplicate"] * 3, None]


def test_clusters() -> None:
    assert run(NearDecision(clusters=True), TABLE, 2)["cluster"].to_pylist() == [0, 0, 0, 0, 4]
