"""The bytes and bounds of text columns."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.text_buffers import text_buffers


@given(st.lists(st.one_of(st.none(), st.text(max_size=5))), st.integers(0, 5))
def test_every_slice(texts: list[str | None], skip: int) -> None:
    array = pa.array(texts, pa.large_string()).slice(min(skip, len(texts)))
    data, starts, ends = text_buffers(array)
    got = [data[a:b].tobytes().decode() for a, b in zip(starts, ends, strict=True)]
    assert got == [text or "" for text in array.to_pylist()]
