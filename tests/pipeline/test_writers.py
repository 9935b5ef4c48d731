"""Every writer: what others read back is what went in, and the bytes depend on the rows alone."""

from __future__ import annotations

import base64
import datetime
import decimal
import gzip
import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import json_lines, writers
from pipeline.errors import ConfigError, DataError
from pipeline.writers import SUFFIXES, open_writer, row_bytes

SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("n", pa.int64()),
        ("score", pa.float64()),
        ("flag", pa.bool_()),
        ("tags", pa.list_(pa.large_string())),
        ("meta", pa.struct([("a", pa.int64()), ("b", pa.large_string())])),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
    ]
)
some_text = st.none() | st.text(st.characters(codec="utf-8"), max_size=40)
row = st.fixed_dictionaries(
    {
        "text": some_text,
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.none() | st.booleans(),
        "tags": st.none() | st.lists(some_text, max_size=3),
        "meta": st.none() | st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": some_text}),
        "kind": st.none() | st.sampled_from(["x", "y"]),
    }
)


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Every batch has a dictionary of its own, as shards have."""
    plain = pa.schema([f if f.name != "kind" else pa.field("kind", pa.string()) for f in SCHEMA])
    batch = pa.RecordBatch.from_pylist(rows, schema=plain)
    kind = batch["kind"].dictionary_encode().cast(SCHEMA.field("kind").type)
    return pa.RecordBatch.from_arrays([*batch.columns[:-1], kind], schema=SCHEMA)


def written(format: str, batches: list[pa.RecordBatch], schema: pa.Schema = SCHEMA) -> bytes:
    sink = io.BytesIO()
    with open_writer(sink, format, schema) as writer:
        for batch in batches:
            writer.write(batch)
    return sink.getvalue()


def lines_of(format: str, data: bytes) -> list[dict[str, Any]]:
    if format == "jsonl.gz":
        data = gzip.decompress(data)
    if format == "jsonl.zst":
        data = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    return [json.loads(line) for line in data.decode().split("\n")[:-1]]


def read_back(format: str, data: bytes) -> list[dict[str, Any]]:
    if format == "parquet":
        return pq.ParquetFile(io.BytesIO(data)).read().to_pylist()
    if format == "arrow":
        return pa.ipc.open_file(pa.BufferReader(data)).read_all().to_pylist()
    return lines_of(format, data)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(row, max_size=20), format=st.sampled_from(sorted(SUFFIXES)))
def test_rows_come_back(rows: list[dict[str, Any]], format: str) -> None:
    assert read_back(format, written(format, [batch_of(rows)])) == rows


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(row, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=6),
    format=st.sampled_from(sorted(SUFFIXES)),
    group=st.sampled_from([50, 400, 64_000_000]),
)
def test_the_bytes_do_not_depend_on_the_batches(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], cuts: list[int], format: str, group: int
) -> None:
    """Neither on their cut, nor on slices, nor on the file being written twice."""
    monkeypatch.setattr(writers, "GROUP_BYTES", group)
    monkeypatch.setattr(writers, "GROUP_ROWS", 9)
    monkeypatch.setattr(json_lines, "BUFFER_BYTES", 100)
    whole = batch_of(rows)
    ends = sorted({0, *(min(c, len(rows)) for c in cuts), len(rows)})
    sliced = [whole.slice(a, b - a) for a, b in itertools.pairwise(ends)]
    fresh = [batch_of(rows[a:b]) for a, b in itertools.pairwise(ends)]
    assert written(format, [whole]) == written(format, sliced) == written(format, fresh)


def test_row_groups_end_where_the_rows_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "GROUP_BYTES", 1000)
    schema = pa.schema([("text", pa.large_string())])
    batch = pa.RecordBatch.from_pydict({"text": ["a" * 392] * 7 + ["b" * 5000, "c"]}, schema=schema)
    file = pq.ParquetFile(io.BytesIO(written("parquet", [batch], schema)))
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [3, 3, 2, 1]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    data = written("arrow", [batch], schema)
    reader = pa.ipc.open_file(pa.BufferReader(data))
    assert [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)] == groups


def test_the_size_of_a_row_is_a_function_of_its_values() -> None:
    tags = pa.array([["ab", None], None, [], ["c"]])
    batch = pa.record_batch({"text": ["abc", None, "", "x"], "n": [1, None, 2, 3], "tags": tags})
    assert row_bytes(batch).tolist() == [11 + 8 + 8 + 18, 8 + 8 + 8, 8 + 8 + 8, 9 + 8 + 8 + 9]
    assert row_bytes(batch.slice(2)).tolist() == [24, 34]
    ids = pa.FixedSizeListArray.from_arrays(pa.array(range(12), pa.int32()), 3)
    assert row_bytes(pa.record_batch({"ids": ids}).slice(1)).tolist() == [8 + 3 * 4] * 3
    nested = pa.record_batch({"m": pa.array([{"a": "xy"}, None])})
    assert row_bytes(nested).tolist() == [18, 16]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_another_library_reads_it(tmp_path: Path, format: str) -> None:
    path = str(tmp_path / f"x.{SUFFIXES[format]}")
    rows = [{**dict.fromkeys(SCHEMA.names), "text": "naïve 字", "n": 3, "kind": "y", "tags": ["a"]}] * 2
    with open_writer(path, format, SCHEMA) as writer:
        writer.write(batch_of(rows))
    frame = pl.read_parquet(path) if format == "parquet" else pl.read_ipc(path)
    assert frame.select("text", "n", "tags").rows() == [("naïve 字", 3, ["a"])] * 2


def test_json_of_values_that_json_has_no_form_for() -> None:
    batch = pa.record_batch(
        {
            "when": pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5)], pa.timestamp("ns", "UTC")),
            "day": pa.array([datetime.date(2020, 1, 2)]),
            "took": pa.array([datetime.timedelta(seconds=2)], pa.duration("ms")),
            "price": pa.array([decimal.Decimal("1.50")]),
            "raw": pa.array([b"\xff\x00"]),
            "deep": pa.array([[{"at": datetime.date(2020, 1, 2), "raw": b"\x01"}]]),
        }
    )
    (found,) = lines_of("jsonl", written("jsonl", [batch], batch.schema))
    assert found == {
        "when": "2020-01-02 03:04:05.000000000Z",
        "day": "2020-01-02",
        "took": 2000,
        "price": "1.50",
        "raw": base64.b64encode(b"\xff\x00").decode(),
        "deep": [{"at": "2020-01-02", "raw": "AQ=="}],
    }


def test_numbers_that_are_not_finite_stay_what_they_are() -> None:
    batch = pa.record_batch({"x": [math.nan, math.inf, -math.inf, None, 0.1]})
    data = written("jsonl", [batch], batch.schema)
    assert data == b'{"x":NaN}\n{"x":Infinity}\n{"x":-Infinity}\n{"x":null}\n{"x":0.1}\n'
    read = pj.read_json(io.BytesIO(data))["x"].to_pylist()
    assert math.isnan(read[0])
    assert read[1:] == [math.inf, -math.inf, None, 0.1]


def test_packed_lines_have_no_date_and_one_frame() -> None:
    batch = pa.record_batch({"x": range(100_000)})
    packed = written("jsonl.gz", [batch], batch.schema)
    assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    zst = written("jsonl.zst", [batch], batch.schema)
    assert zst.count(b"\x28\xb5\x2f\xfd") == 1
    assert len(lines_of("jsonl.zst", zst)) == 100_000


@pytest.mark.parametrize("format", sorted(SUFFIXES))
def test_invalid_utf8_is_named(format: str) -> None:
    text = pa.array([b"a", b"\xff"]).cast(pa.large_binary()).view(pa.large_string())
    batch = pa.record_batch({"text": text, "uid": [70, 71], "id": ["p", "q"]})
    with open_writer(io.BytesIO(), format, batch.schema) as writer:
        writer.write(batch.slice(0, 1))
        with pytest.raises(
            DataError, match=r"row 1 of the output, uid 71, id q: column 'text' is not valid UTF-8"
        ):
            writer.write(batch.slice(1))


def test_columns_are_taken_by_name() -> None:
    schema = pa.schema([("b", pa.int64()), ("a", pa.large_string())])
    batch = pa.record_batch({"a": pa.array(["x"], pa.large_string()), "more": [0], "b": [1]})
    assert lines_of("jsonl", written("jsonl", [batch], schema)) == [{"b": 1, "a": "x"}]
    with pytest.raises(ValueError, match="the file has columns"):
        written("jsonl", [batch], pa.schema([("b", pa.float64())]))


@pytest.mark.parametrize("format", sorted(SUFFIXES))
def test_files_without_rows_are_whole(format: str) -> None:
    assert read_back(format, written(format, [])) == []
    assert read_back(format, written(format, [batch_of([])])) == []


def test_an_unknown_format() -> None:
    with pytest.raises(ConfigError, match=r"'jsonl.xz' is no format to write; did you mean 'jsonl"):
        open_writer(io.BytesIO(), "jsonl.xz", SCHEMA)
