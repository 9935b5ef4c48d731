"""Places of lines become cuts in bytes."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.contract import CUTS
from operators.line_cuts import LineCuts

TEXTS = ["é 1\n\nb\n c \nd", "x\ny\n", "stays", None]
PLACES = [[0, 2, 3], [0, 1], [], []]


def cut(batch_rows: int = 2, **fields: object) -> pa.Table:
    table = pa.table(
        {
            "text": pa.array(TEXTS, pa.large_string()),
            "/repeated.lines": pa.array(PLACES, pa.list_(pa.int32())),
            "/repeated.any": pa.array([bool(places) for places in PLACES]),
        }
    )
    return run(LineCuts(**fields), table, batch_rows)


def test_cuts_in_bytes() -> None:
    for batch_rows in (1, 2, 4):
        out = cut(batch_rows)
        assert out["cuts"].type == CUTS
        assert out["cuts"].to_pylist() == [
            [{"start": 0, "end": 6, "text": None}, {"start": 8, "end": 13, "text": None}],
            [{"start": 0, "end": 4, "text": None}],
            None,
            None,
        ]
        assert out["lines_cut"].to_pylist() == [3, 2, None, None]
        assert out["bytes_cut"].to_pylist() == [11, 4, None, None]


def test_what_is_left_is_counted() -> None:
    """The first text keeps "b\\n": 2 characters, one word."""
    reason = "too_short_after_line_dedup"
    assert cut()["drop"].to_pylist() == [None, reason, None, None]
    assert cut(min_words=2)["drop"].to_pylist() == [reason, reason, None, None]
    assert cut(min_words=0, min_chars=2)["drop"].to_pylist() == [None, reason, None, None]
    assert cut(min_words=0, min_chars=3)["drop"].to_pylist() == [reason, reason, None, None]
    assert cut(min_words=0)["drop"].null_count == 4
