"""Rows come back as they are in the files, in bounded batches, and every damage is named."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_files import Source, jsonl, read_all, take, write_arrow, write_bytes, write_parquet

from pipeline.errors import ConfigError, DataError
from pipeline.reader import fetch, read_rows

Write = Callable[..., None]
both = pytest.mark.parametrize(("write", "name"), [(write_parquet, "x.parquet"), (write_arrow, "x.arrow")])


def numbered(rows: int) -> pa.Table:
    return pa.table({"text": [f"text {i}" for i in range(rows)], "n": range(rows)})


@both
def test_every_type_comes_back(tmp_path: Path, write: Write, name: str) -> None:
    values = {
        "text": pa.array(["", None, "naïve 字"]),
        "category": pa.array(["a", None, "a"]).dictionary_encode(),
        "score": pa.array([float("inf"), None, -0.5]),
        "tags": pa.array([["x", None], [], None]),
        "meta": pa.array([{"a": 1, "b": ["q"]}, None, {"a": None, "b": None}]),
        "when": pa.array([datetime.datetime(2020, 1, 1), None, None], pa.timestamp("us")),
        "raw": pa.array([b"\xff", None, b""]),
        "none": pa.nulls(3),
        "a.b": [1, 2, 3],
    }
    write(tmp_path / name, pa.table(values))
    manifest = take(tmp_path, Source(name))
    names = manifest.schemas[""].names
    assert names == list(values)
    assert [row for _, row in read_all(manifest, names)] == pa.table(values).to_pylist()
    types = manifest.schemas[""]
    assert types.field("category").type == pa.large_string()
    assert types.field("tags").type == pa.list_(pa.large_string())
    (_, batch), *_ = read_rows(manifest, manifest.shards[0], names, None, 10)
    assert batch.schema == types


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.sets(st.integers(0, 39)),
    group=st.integers(1, 40),
    batch_rows=st.integers(1, 50),
    batch_bytes=st.sampled_from([1, 100, 1 << 20]),
)
def test_some_rows(tmp_path: Path, wanted: set[int], group: int, batch_rows: int, batch_bytes: int) -> None:
    rows = np.array(sorted(wanted), dtype=np.uint32)
    for write, name in ((write_parquet, "x.parquet"), (write_arrow, "x.arrow")):
        write(tmp_path / name, numbered(40), group)
        manifest = take(tmp_path, Source(name))
        found = list(read_rows(manifest, manifest.shards[0], ["n"], rows, batch_rows, batch_bytes))
        assert [n for _, batch in found for n in batch["n"].to_pylist()] == sorted(wanted)
        assert [n for numbers, _ in found for n in numbers.tolist()] == sorted(wanted)
        assert all(len(numbers) == batch.num_rows <= batch_rows for numbers, batch in found)
        assert all(numbers.dtype == np.uint32 for numbers, _ in found)


@both
def test_batches_shrink_where_rows_are_big(tmp_path: Path, write: Write, name: str) -> None:
    write(tmp_path / name, pa.table({"text": [os.urandom(5000).hex() for _ in range(60)]}))
    manifest = take(tmp_path, Source(name))
    sizes = [b.num_rows for _, b in read_rows(manifest, manifest.shards[0], ["text"], None, 4096, 100_000)]
    assert sum(sizes) == 60
    assert max(sizes) <= 10


def test_small_row_groups_and_files_are_gathered(tmp_path: Path) -> None:
    for name in "abc":
        write_parquet(tmp_path / f"{name}.parquet", numbered(10), group=3)
    manifest = take(tmp_path, Source("*.parquet"))
    assert [b.num_rows for _, b in read_rows(manifest, manifest.shards[0], ["n"], None, 16)] == [16, 14]


def test_big_texts_that_a_dictionary_makes_small(tmp_path: Path) -> None:
    """2,000 rows of 100 kB take 100 kB in the file: they must not be decoded at once."""
    write_parquet(tmp_path / "x.parquet", pa.table({"text": ["a" * 100_000] * 2000}))
    manifest = take(tmp_path, Source("x.parquet"))
    before = pa.total_allocated_bytes()
    peak = 0
    for _, batch in read_rows(manifest, manifest.shards[0], ["text"], None, 4096, 1_000_000):
        assert batch.num_rows <= 512
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 120_000_000


def test_no_columns_and_unknown_ones(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", numbered(10))
    manifest = take(tmp_path, Source("x.parquet"))
    found = list(read_rows(manifest, manifest.shards[0], [], np.array([2, 5, 9], np.uint32), 2))
    assert [(rows.tolist(), batch.num_rows) for rows, batch in found] == [([2, 5], 2), ([9], 1)]
    with pytest.raises(ConfigError, match="no column 'texts'; did you mean 'text'"):
        next(read_rows(manifest, manifest.shards[0], ["texts"], None, 2))
    with pytest.raises(IndexError, match="row 10 of shard 0"):
        next(read_rows(manifest, manifest.shards[0], ["n"], np.array([10], np.uint32), 2))


@both
def test_a_file_that_changed_is_not_read(tmp_path: Path, write: Write, name: str) -> None:
    write(tmp_path / name, numbered(10))
    manifest = take(tmp_path, Source(name))
    write(tmp_path / name, numbered(11))
    with pytest.raises(DataError, match=rf"{name} changed since the manifest.*accept-source"):
        read_all(manifest, ["text"])
    os.truncate(tmp_path / name, 100)
    with pytest.raises(DataError, match=rf"{name} cannot be read.*truncated"):
        read_all(manifest, ["text"])
    os.remove(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} cannot be read"):
        read_all(manifest, ["text"])


def test_a_damaged_row_group_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_parquet(path, numbered(30), group=10)
    manifest = take(tmp_path, Source("x.parquet"))
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)
    rows = np.array([0, 9, 20, 29], np.uint32)
    (_, batch), *_ = read_rows(manifest, manifest.shards[0], ["text"], rows, 100)
    assert batch["text"].to_pylist() == ["text 0", "text 9", "text 20", "text 29"]
    with pytest.raises(DataError, match=r"x.parquet: row group 1 is damaged"):
        read_all(manifest, ["text"])
    assert len(read_all(manifest, ["n"])) == 30


def test_a_damaged_record_batch_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    rows = numbered(200)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=options) as writer:
        for batch in rows.to_batches(max_chunksize=100):
            writer.write_batch(batch)
    manifest = take(tmp_path, Source("x.arrow"))
    assert [row["n"] for _, row in read_all(manifest, ["n"])] == list(range(200))
    data = bytearray(path.read_bytes())
    second = data.find(b"\x28\xb5\x2f\xfd", len(data) // 2)
    data[second : second + 60] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x.arrow: record batch 1 is damaged"):
        read_all(manifest, ["text", "n"])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
@both
def test_invalid_utf8_is_named_by_row(tmp_path: Path, write: Write, name: str, kind: pa.DataType) -> None:
    bad = pa.array([b"a", b"b", b"before \xc3( after", b"d"]).cast(pa.large_binary()).view(pa.large_string())
    column = bad if kind == pa.large_string() else bad.view(pa.large_binary()).cast(pa.binary()).view(kind)
    write(tmp_path / name, pa.table({"text": column}), 2)
    manifest = take(tmp_path, Source(name))
    with pytest.raises(
        DataError, match=rf"{name}: row 2, column 'text': invalid UTF-8 in b'before \\xc3\( after'"
    ):
        read_all(manifest, ["text"])
    (_, batch), *_ = read_rows(manifest, manifest.shards[0], ["text"], np.array([0, 3], np.uint32), 9)
    assert batch["text"].to_pylist() == ["a", "d"]


def test_documents_by_uid(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", pa.table({"text": list("abcdef"), "n": range(6)}), group=2)
    write_bytes(tmp_path / "b.jsonl", jsonl([{"body": "g", "url": "u"}]))
    sources = {"one": Source("a.parquet", shard_bytes=1), "two": Source("b.jsonl", text="body")}
    manifest = take(tmp_path, sources)
    found = fetch(manifest, [6, 0, 3, 3], ["text", "n", "url"])
    assert found.to_pydict() == {
        "uid": [6, 0, 3, 3],
        "text": ["g", "a", "d", "d"],
        "n": [None, 0, 3, 3],
        "url": ["u", None, None, None],
    }
    assert fetch(manifest, [], ["text"]).schema == pa.schema(
        [("uid", pa.int64()), ("text", pa.large_string())]
    )
    assert fetch(manifest, [5, 1], []).to_pydict() == {"uid": [5, 1]}
    with pytest.raises(IndexError, match="no uid 7"):
        fetch(manifest, [7], ["text"])
    with pytest.raises(ConfigError, match="no column 'texd'"):
        fetch(manifest, [0], ["texd"])
