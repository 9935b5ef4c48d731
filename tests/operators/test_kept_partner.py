"""The nearest kept partner."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.kept_partner import KeptPartner


def test_the_nearest_that_stays_and_ties_in_edge_order() -> None:
    table = pa.table(
        {
            "/verify.edges": pa.array([[], [], [0], [2, 0, 1], [1, 0]], pa.list_(pa.int64())),
            "/verify.similarity": pa.array(
                [[], [], [0.9], [1, 0.8, 0.9], [0.9, 0.9]], pa.list_(pa.float32())
            ),
            "/followed.followed": [True, True, True, False, False],
            "/greedy.status": pa.array([1, 1, 2, 2, 2], pa.int8()),
        }
    )
    for batch_rows in (1, 2, 9):
        out = run(KeptPartner(), table, batch_rows)
        assert out["kept"].to_pylist() == [None, None, 0, 1, 1]
        assert out["similarity"].cast(pa.float64()).to_numpy().round(3).tolist()[2:] == [0.9, 0.9, 0.9]
