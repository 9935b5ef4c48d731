"""One round of questions."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.greedy_ask import GreedyAsk


def test_two_rounds() -> None:
    """3 -> 1 -> 0 and 3 -> 2 -> 1: in the first round only 0 is known to stay."""
    table = pa.table(
        {
            "/verify.edges": pa.array([[], [0], [1], [1, 2]], pa.list_(pa.int64())),
            "/followed.followed": [True, True, True, False],
        }
    )
    for batch_rows in (1, 3, 9):
        out = run(GreedyAsk(), table, batch_rows)
        assert out["beaten"].to_pylist() == [False, True, False, False]
        assert out["open"].to_pylist() == [[], [], [1], [1, 2]]
        later = table.append_column("last.settle.status", pa.array([1, 2, 0, 0], pa.int8()))
        out = run(GreedyAsk(first=False), later, batch_rows)
        assert out["beaten"].to_pylist() == [False, False, False, False]
        assert out["open"].to_pylist() == [[], [], [], [2]]
