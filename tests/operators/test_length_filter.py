"""Lengths equal what Python counts, bounds are inclusive, and broken bytes do no harm."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.kernels.words import count_words
from operators.length_filter import LengthFilter

SPACES = "".join(chr(c) for c in range(0x110000) if chr(c).isspace())
TEXTS = st.lists(st.none() | st.text(st.sampled_from(SPACES + "aé日🎉\x00") | st.characters(codec="utf-8")))
COUNT = {"bytes": lambda t: len(t.encode()), "characters": len, "words": lambda t: len(t.split())}


@pytest.mark.parametrize("unit", ["bytes", "characters", "words"])
@settings(deadline=None)
@given(texts=TEXTS, low=st.integers(0, 4), extra=st.integers(0, 4), size=st.integers(1, 5))
def test_equals_python(
    unit: Literal["bytes", "characters", "words"], texts: list[str | None], low: int, extra: int, size: int
) -> None:
    op = LengthFilter(unit=unit, min=low, max=low + extra)
    got = run(op, pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows=size)
    lengths = [COUNT[unit](t or "") for t in texts]
    reasons = ["too_short" if n < low else "too_long" if n > low + extra else None for n in lengths]
    assert got.column("length").to_pylist() == lengths
    assert got.column("drop").to_pylist() == reasons


def test_every_white_space_separates() -> None:
    texts = [f"a{space}b" for space in SPACES] + [f"a{chr(0x200B)}b"]
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    got = LengthFilter(unit="words", min=2).columns(batch, {})
    assert got["length"].to_pylist() == [2] * len(SPACES) + [1]


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 40))
def test_any_bytes_are_counted_within_their_bounds(data: bytes, end: int) -> None:
    end = min(end, len(data))
    alone = np.frombuffer(data[:end] or b" ", np.uint8)
    start, stop = np.array([0]), np.array([end])
    inside = count_words(np.frombuffer(data or b" ", np.uint8), start, stop)
    assert inside == count_words(alone, start, stop)


def test_invalid_utf8_has_a_length() -> None:
    raw = pa.array([b"\xe2\x80", b"ok \xff\xc2", b"\x80\x80"], pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), 3, raw.buffers())
    batch = pa.RecordBatch.from_pydict({"text": text})
    for unit in ("bytes", "characters", "words"):
        lengths = LengthFilter(unit=unit, min=0).columns(batch, {})["length"].to_pylist()
        assert lengths[0] <= 2
        assert all(n >= 0 for n in lengths)


@pytest.mark.parametrize(
    ("fields", "message"), [({}, "needs min or max"), ({"min": 5, "max": 4}, "above max 4")]
)
def test_bounds_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LengthFilter(**fields)
