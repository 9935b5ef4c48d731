"""Characters and words against Python's strings, invalid UTF-8 included."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.kernels.code_points import count_code_points, reference
from operators.kernels.text_buffers import text_buffers
from operators.lengths import Lengths


@settings(deadline=None, max_examples=100)
@given(st.lists(st.none() | st.text(), max_size=6))
def test_equals_python(texts: list[str | None]) -> None:
    got = run(Lengths(), pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows=2)
    assert got.column("characters").to_pylist() == [len(t or "") for t in texts]
    assert got.column("words").to_pylist() == [len((t or "").split()) for t in texts]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=6))
@example(
    [b"\xff\xfe", b"\x80", b"caf\xe9 au", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf"]
)
def test_invalid_bytes_count_one_by_one(texts: list[bytes]) -> None:
    raw = pa.array(texts, pa.large_binary())
    column = pa.Array.from_buffers(pa.large_string(), len(raw), raw.buffers())
    assert count_code_points(*text_buffers(column)).tolist() == [reference(text) for text in texts]
