"""Rounds of questions."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.greedy_ask import GreedyAsk


def columns(
    prefix: str, status: list[int], kept: list[int | None], near: list[float | None]
) -> dict[str, pa.Array]:
    return {
        f"{prefix}.status": pa.array(status, pa.int8()),
        f"{prefix}.kept": pa.array(kept, pa.int64()),
        f"{prefix}.similarity": pa.array(near, pa.float32()),
    }


def test_the_first_questions() -> None:
    """3 -> 1 -> 0 and 3 -> 2 -> 1; 4 is the twin of 1, 5 of 0: only 0 is known to stay."""
    nothing = [None] * 6
    table = pa.table(
        {
            "/same.twin": pa.array([None, None, None, None, 1, 0], pa.int64()),
            "/same.twinned": [True, True, False, False, False, False],
            "/verify.edges": pa.array([[], [0], [1], [1, 2], [], []], pa.list_(pa.int64())),
            "/verify.similarity": pa.array([[], [0.5], [0.5], [0.75, 0.5], [], []], pa.list_(pa.float32())),
            "/followed.followed": [True, True, True, False, False, False],
            "/near.cut": [False] * 6,
            **columns("last.settle", [1, 0, 0, 0, 0, 0], nothing, nothing),
        }
    )
    for batch_rows in (1, 3, 9):
        out = run(GreedyAsk(), table, batch_rows)
        assert out["kept"].to_pylist() == [None, 0, None, None, None, 0]
        assert out["similarity"].to_pylist() == [None, 0.5, None, None, None, 1]
        assert out["open"].to_pylist() == [[], [], [1], [1, 2], [1], []]
        assert out["nearness"].to_pylist() == [[], [], [0.5], [0.75, 0.5], [2], []]
        assert out["asked"].to_pylist() == [False, True, True, True, True, True]


def test_a_twin_waits_until_its_first_has_its_nearest_partner() -> None:
    """1 goes for 0 but may find a nearer one in 2; its twin 3 waits. 5 is the twin of 4, which is done."""
    kept, near = [None, 0, None, None, 0, None], [None, 0.5, None, None, 0.25, None]
    table = pa.table(
        {
            "/same.twinned": [False, True, False, False, True, False],
            "/followed.followed": [True, False, True, False, False, False],
            "/near.cut": [False] * 6,
            "last.ask.open": pa.array([[], [2], [0], [1], [], [4]], pa.list_(pa.int64())),
            "last.ask.nearness": pa.array([[], [0.75], [0.5], [2], [], [2]], pa.list_(pa.float32())),
            **columns("last.settle", [1, 2, 0, 0, 2, 0], kept, near),
        }
    )
    for batch_rows in (1, 2, 9):
        out = run(GreedyAsk(first=False), table, batch_rows)
        assert out["kept"].to_pylist() == [None, None, 0, None, None, 0]
        assert out["similarity"].to_pylist() == [None, None, 0.5, None, None, 0.25]
        assert out["open"].to_pylist() == [[], [2], [], [1], [], []]
