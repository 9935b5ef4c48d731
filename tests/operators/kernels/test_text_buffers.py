"""The bytes and bounds of text columns."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.text_buffers import text_buffers, truncated


@given(st.lists(st.one_of(st.none(), st.text(max_size=5))), st.integers(0, 5))
def test_every_slice(texts: list[str | None], skip: int) -> None:
    array = pa.array(texts, pa.large_string()).slice(min(skip, len(texts)))
    data, starts, ends = text_buffers(array)
    got = [data[a:b].tobytes().decode() for a, b in zip(starts, ends, strict=True)]
    assert got == [text or "" for text in array.to_pylist()]


@given(st.lists(st.none() | st.text(st.sampled_from("aé中🎉")), max_size=4), st.integers(4, 12))
def test_a_beginning_has_whole_characters(texts: list[str | None], most: int) -> None:
    data, starts, ends = text_buffers(pa.array(texts, pa.large_string()))
    cut = truncated(data, starts, ends, most)
    got = [data[a:b].tobytes() for a, b in zip(starts, cut, strict=True)]
    assert got == [(text or "").encode()[:most].decode(errors="ignore").encode() for text in texts]


def test_a_beginning_of_invalid_bytes() -> None:
    data, starts, ends = text_buffers(pa.array([b"\x80" * 9, b"abcd\x80\x80\x80\x80"], pa.large_binary()))
    assert truncated(data, starts, ends, 4).tolist() == [1, 12]
