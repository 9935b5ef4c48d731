"""The verdict of a round, and the rest at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from operators.greedy_settle import GreedySettle

TABLE = pa.table(
    {
        "/rank.rank": pa.array([0, 1, 2, 3], pa.uint64()),
        "/ask.beaten": [False, True, False, False],
        "/ask.open": pa.array([[], [], [1], [1, 2]], pa.list_(pa.int64())),
    }
)


def test_a_round_without_the_rest() -> None:
    assert run(GreedySettle(solve_up_to=0), TABLE, 2)["status"].to_pylist() == [1, 2, 0, 0]


def test_the_rest_at_once() -> None:
    """1 goes, so 2 stays, so 3 goes."""
    assert run(GreedySettle(), TABLE, 2)["status"].to_pylist() == [1, 2, 1, 2]
    later = TABLE.append_column("last.settle.status", pa.array([1, 0, 0, 0], pa.int8()))
    assert run(GreedySettle(first=False), later, 1)["status"].to_pylist() == [1, 2, 1, 2]


def test_any_tree_of_merges_gives_the_same_summary() -> None:
    op = GreedySettle(solve_up_to=4)
    with_uid = TABLE.append_column("uid", pa.array(range(4), pa.int64()))
    parts = [op.fold(with_uid.slice(i, 1).to_batches()[0], {}) for i in range(4)]
    left = op.merge(op.merge(op.merge(parts[0], parts[1]), parts[2]), parts[3])
    right = op.merge(op.merge(parts[3], parts[1]), op.merge(parts[2], parts[0]))
    assert all(np.array_equal(left[name], right[name]) for name in left)
    assert left["count"].tolist() == [2, 4]
    assert sum(array.nbytes for array in left.values()) <= op.state_bytes


def test_too_many_edges_are_not_carried() -> None:
    op = GreedySettle(solve_up_to=3)
    with_uid = TABLE.append_column("uid", pa.array(range(4), pa.int64()))
    state = op.fold(with_uid.to_batches()[0], {})
    assert state["count"].tolist() == [2, 4]
    assert len(state["uid"]) == 0
    assert op.finish(state, {})["undecided"].tolist() == [2]
