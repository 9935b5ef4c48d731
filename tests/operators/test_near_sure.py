"""What surely goes while candidates are missing."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.near_sure import NearSure


def test_who_was_cut_never_surely_stays() -> None:
    """1 was cut: its follower 2 may stay; 3 goes for 0 as well; 4 was cut and goes for 0; 5 is 3's twin."""
    lists = [[], [], [1], [0, 1], [0], []]
    table = pa.table(
        {
            "/rank.tier": pa.array([0] * 6, pa.uint16()),
            "/rank.rank": pa.array([0] * 6, pa.uint64()),
            "/same.twin": pa.array([None] * 5 + [3], pa.int64()),
            "/same.twinned": [i == 3 for i in range(6)],
            "/near.cut": [i in (1, 4) for i in range(6)],
            "/verify.edges": pa.array(lists, pa.list_(pa.int64())),
            "/verify.similarity": pa.array([[0.9] * len(one) for one in lists], pa.list_(pa.float32())),
            "/followed.followed": [True, True, False, False, False, False],
        }
    )
    for solve_up_to in (0, 2, 1000):
        for batch_rows in (1, 9):
            out = run(NearSure(solve_up_to=solve_up_to), table, batch_rows)
            twin = solve_up_to == 1000  # in rounds it waits until its first knows the nearest partner
            assert out["gone"].to_pylist() == [False, False, False, True, True, twin]
