"""The verdict of a round, and the rest at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from operators.greedy_settle import GreedySettle

RANK = {"/rank.tier": pa.array([0] * 4, pa.uint16()), "/rank.rank": pa.array([0, 1, 2, 3], pa.uint64())}
FIRST = pa.table(
    {
        **RANK,
        "/same.twin": pa.array([None] * 4, pa.int64()),
        "/verify.edges": pa.array([[], [0], [1], [1, 2]], pa.list_(pa.int64())),
        "/verify.similarity": pa.array([[], [0.5], [0.5], [0.75, 0.5]], pa.list_(pa.float32())),
        "/near.cut": [False] * 4,
    }
)
# 1 has learnt that it goes for 0; 2 and 3 were told that their partners are open.
LATER = pa.table(
    {
        **RANK,
        "/ask.open": pa.array([[], [], [1], [1, 2]], pa.list_(pa.int64())),
        "/ask.nearness": pa.array([[], [], [0.5], [0.75, 0.5]], pa.list_(pa.float32())),
        "/ask.kept": pa.array([None, 0, None, None], pa.int64()),
        "/ask.similarity": pa.array([None, 0.5, None, None], pa.float32()),
        "/ask.asked": [False, True, True, True],
        "last.settle.kept": pa.array([None, None, None, None], pa.int64()),
        "last.settle.similarity": pa.array([None, None, None, None], pa.float32()),
    }
)


def test_a_round_without_the_rest() -> None:
    first = run(GreedySettle(solve_up_to=0), FIRST, 2)
    assert first["status"].to_pylist() == [1, 0, 0, 0]
    later = run(GreedySettle(first=False, solve_up_to=0), LATER, 2)
    assert later["status"].to_pylist() == [1, 2, 0, 0]
    assert later["kept"].to_pylist() == [None, 0, None, None]


def test_the_rest_at_once() -> None:
    """1 goes, so 2 stays, so 3 goes for it."""
    for op, table in ((GreedySettle(), FIRST), (GreedySettle(first=False), LATER)):
        for batch_rows in (1, 4):
            out = run(op, table, batch_rows)
            assert out["status"].to_pylist() == [1, 2, 1, 2]
            assert out["kept"].to_pylist() == [None, 0, None, 2]
            assert out["similarity"].to_pylist() == [None, 0.5, None, 0.5]


def test_the_nearest_of_this_round_and_of_those_before() -> None:
    """1 has a partner at 0.5 by now; what it had before counts if it was nearer, or as near and earlier."""
    for before, near, want in ((3, 0.9, 3), (3, 0.25, 0), (3, 0.5, 0)):
        known = LATER.drop_columns(["last.settle.kept", "last.settle.similarity"])
        known = known.append_column("last.settle.kept", pa.array([None, before, None, None], pa.int64()))
        similarity = pa.array([None, near, None, None], pa.float32())
        known = known.append_column("last.settle.similarity", similarity)
        for solve_up_to in (0, 100):
            out = run(GreedySettle(first=False, solve_up_to=solve_up_to), known)
            assert out["kept"].to_pylist()[1] == want


def test_any_tree_of_merges_gives_the_same_summary() -> None:
    op = GreedySettle(solve_up_to=4)
    with_uid = FIRST.append_column("uid", pa.array(range(4), pa.int64()))
    parts = [op.fold(with_uid.slice(i, 1).to_batches()[0], {}) for i in range(4)]
    left = op.merge(op.merge(op.merge(parts[0], parts[1]), parts[2]), parts[3])
    right = op.merge(op.merge(parts[3], parts[1]), op.merge(parts[2], parts[0]))
    assert all(np.array_equal(left[name], right[name]) for name in left)
    assert left["count"].tolist() == [3, 4]
    assert sum(array.nbytes for array in left.values()) <= op.state_bytes


def test_too_many_edges_are_not_carried() -> None:
    op = GreedySettle(solve_up_to=3)
    with_uid = FIRST.append_column("uid", pa.array(range(4), pa.int64()))
    state = op.fold(with_uid.to_batches()[0], {})
    assert state["count"].tolist() == [3, 4]
    assert len(state["uid"]) == 0
    assert op.finish(state, {})["undecided"].tolist() == [3]
