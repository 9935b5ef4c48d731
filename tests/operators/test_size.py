"""Bytes of UTF-8, nulls and slices included."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.size import Size


def test_bytes_of_utf8() -> None:
    texts = ["", "abc", None, "日本語", "é" * 1000, "🎉"]
    got = run(Size(), pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows=2)
    assert got.column("bytes").to_pylist() == [len((t or "").encode()) for t in texts]


def test_invalid_utf8_and_slices() -> None:
    raw = pa.array([b"x", b"\xff\xfe\xfd", b"\x80"], pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), 3, raw.buffers()).slice(1)
    batch = pa.RecordBatch.from_pydict({"text": text})
    assert Size().columns(batch, {})["bytes"].to_pylist() == [3, 1]
