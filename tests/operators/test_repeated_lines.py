"""Which lines go: places among the compared lines of each document."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import run

from operators.repeated_lines import RepeatedLines

TEXTS = ["a\n\nb\nA", "c\n-\nb\n", None, "d\nd", "b!"]
TABLE = pa.table({"text": pa.array(TEXTS, pa.large_string())})


@pytest.mark.parametrize("batch_rows", [1, 2, 5])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [[2], [1], [], [1], [0]]),
        ({"within": "keep"}, [[], [1], [], [], [0]]),
        ({"policy": "drop_all"}, [[1, 2], [1], [], [1], [0]]),
        ({"policy": "drop_all", "within": "keep"}, [[1], [1], [], [], [0]]),
        ({"policy": "drop_all", "ignore": ["case"]}, [[1, 2], [2], [], [1], []]),
    ],
)
def test_places(fields: dict[str, object], expected: list[list[int]], batch_rows: int) -> None:
    out = run(RepeatedLines(**fields), TABLE, batch_rows)
    assert out["lines"].to_pylist() == expected
    assert out["any"].to_pylist() == [bool(places) for places in expected]


def test_one_line_of_all_documents_is_one_message_a_batch() -> None:
    op = RepeatedLines(policy="drop_all")
    texts = pa.array(["x"] * 1000, pa.large_string())
    batch = pa.RecordBatch.from_pydict({"uid": pa.array(np.arange(1000)), "text": texts})
    sent = op.emit(batch, {})
    message = pa.RecordBatch.from_pydict(dict(sent.payload))
    summary = op.combine(message, np.array([0]))
    assert {name: [value >> 24 for value in column.to_pylist()] for name, column in summary.items()} == {
        "first": [0],
        "last": [999],
    }


def test_a_line_is_sixteen_bytes() -> None:
    """The key and the first place; the last one where it is needed."""
    assert [kind.bit_width for kind in RepeatedLines().emits.values()] == [64]
    assert [kind.bit_width for kind in RepeatedLines(policy="drop_all").emits.values()] == [64, 64]


def test_more_documents_than_places_are_refused() -> None:
    table = pa.table({"uid": pa.array([1 << 40]), "text": pa.array(["x"], pa.large_string())})
    with pytest.raises(ValueError, match="uid 1099511627776 is above"):
        run(RepeatedLines(), table)
