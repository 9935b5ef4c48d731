"""Distances are those of the textbook's table, nulls are null, and a missing package is named."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators import edit_distance
from operators.edit_distance import EditDistance

TEXTS = st.none() | st.text(st.sampled_from("abé日🎉"), max_size=9)


def by_table(a: str, b: str) -> int:
    """Wagner & Fischer 1974, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        old, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            old, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, old + (x != y))
    return row[-1]


def distances(pairs: list[Any], **fields: Any) -> list[dict[str, Any]]:
    columns = [pa.array([pair[side] for pair in pairs], pa.string()) for side in (0, 1)]
    op = EditDistance(left="a", right="b", **fields)
    return run(op, pa.table(dict(zip("ab", columns, strict=True))), batch_rows=2).to_pylist()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
def test_equals_the_table(pairs: list[Any]) -> None:
    for (a, b), got in zip(pairs, distances(pairs), strict=True):
        if a is None or b is None:
            assert got == {"distance": None, "normalised": None}
        else:
            assert got["distance"] == by_table(a, b)
            assert got["normalised"] == pytest.approx(by_table(a, b) / max(len(a), len(b), 1), rel=1e-6)


def test_ends_and_limits() -> None:
    got = distances([("", ""), ("kitten", "sitting"), ("x" * 200, "x" * 100 + "y")], max_characters=100)
    assert [row["distance"] for row in got] == [0, 3, 0]
    assert [row["normalised"] for row in got] == pytest.approx([0, 3 / 7, 0])
    assert distances([("x" * 200, "x" * 100 + "y")])[0]["distance"] == 100
    assert distances([]) == []


def test_bytes_that_are_no_utf8() -> None:
    raw = pa.array([b"caf\xe9", b"\xff"], pa.binary())
    odd = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    batch = pa.RecordBatch.from_pydict({"a": odd, "b": pa.array(["caf\ufffd", "x"])})
    assert EditDistance(left="a", right="b").columns(batch, {})["distance"].to_pylist() == [0, 1]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_distance, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"'rapidfuzz', which is not installed; pip install 'tamis\[difficulty\]'"
    ):
        EditDistance(left="a", right="b")
