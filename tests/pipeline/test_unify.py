"""How columns are named, and what happens where files do not have the same ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from source_files import Source, read_all, take, write_bytes, write_parquet

from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest


def drift(tmp_path: Path, types: dict[str, str] | None = None) -> Manifest:
    return take(tmp_path, Source("in", types=types))


def test_columns_that_differ_between_files_are_an_error(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in/a.parquet", pa.table({"text": ["a"], "n": [1]}))
    write_parquet(tmp_path / "in/b.parquet", pa.table({"n": [2.5], "text": ["b"]}))
    with pytest.raises(
        DataError, match=r"'n': it is double in in/b.parquet, in/a.parquet has it as int64.*schema"
    ):
        drift(tmp_path)
    unified = drift(tmp_path, {"n": "float64"})
    assert [row["n"] for _, row in read_all(unified, ["n"])] == [1.0, 2.5]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_column_that_lacks_is_an_error_unless_declared(tmp_path: Path, order: str) -> None:
    write_parquet(tmp_path / f"in/{order[0]}.parquet", pa.table({"text": ["a"], "n": [1]}))
    write_parquet(tmp_path / f"in/{order[1]}.parquet", pa.table({"text": ["b"]}))
    with pytest.raises(
        DataError, match=rf"'n': it is int64 in in/{order[0]}.parquet, in/{order[1]}.parquet lacks it"
    ):
        drift(tmp_path)
    found = dict(row.values() for _, row in read_all(drift(tmp_path, {"n": "int64"}), ["text", "n"]))
    assert found == {"a": 1, "b": None}


def test_what_is_no_drift(tmp_path: Path) -> None:
    """Order of columns, kinds of strings, nulls without a type, files without rows."""
    write_parquet(tmp_path / "in/a.parquet", pa.table({"text": ["a"], "tag": pa.nulls(1)}))
    plain = pa.table({"tag": pa.array(["x"], pa.large_string()), "text": pa.array(["b"]).dictionary_encode()})
    write_parquet(tmp_path / "in/b.parquet", plain)
    write_bytes(tmp_path / "in/c.jsonl", b"\n")
    write_bytes(tmp_path / "in/d.csv", b"")
    rows = [row for _, row in read_all(drift(tmp_path), ["text", "tag"])]
    assert rows == [{"text": "a", "tag": None}, {"text": "b", "tag": "x"}]


def test_schema_errors(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in/a.parquet", pa.table({"text": ["a"], "n": ["x"]}))
    with pytest.raises(ConfigError, match=r"names a column that no file has: 'm'"):
        drift(tmp_path, {"m": "int64"})
    with pytest.raises(ConfigError, match=r"no Arrow type 'int46'; did you mean 'int64'"):
        drift(tmp_path, {"n": "int46"})
    with pytest.raises(DataError, match=r"a.parquet: row 0, column 'n'.*schema:"):
        read_all(drift(tmp_path, {"n": "int64"}), ["n"])


def test_a_missing_text_column_names_those_that_are_there(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", pa.table({"body": ["a"], "url": ["b"]}))
    write_parquet(tmp_path / "f.parquet", pa.table({"text": ["a"], "score": [0.5]}))
    with pytest.raises(ConfigError, match=r"has no column 'bodi'.*it has: body, url; did you mean 'body'"):
        take(tmp_path, Source("x.parquet", text="bodi"))
    with pytest.raises(ConfigError, match="no column 'docid' for `id`"):
        take(tmp_path, Source("x.parquet", text="body", id="docid"))
    with pytest.raises(
        ConfigError, match=r"'score', the id of source, is double; an id is a string or an integer"
    ):
        take(tmp_path, Source("f.parquet", id="score"))
    write_parquet(tmp_path / "n.parquet", pa.table({"text": [1]}))
    with pytest.raises(ConfigError, match="is int64, not a string"):
        take(tmp_path, Source("n.parquet"))


def test_columns_have_the_names_that_operators_know(tmp_path: Path) -> None:
    rows = pa.table({"body": ["a"], "doc": [7], "text": ["own"], "tag": pa.array(["t"]).dictionary_encode()})
    write_parquet(tmp_path / "x.parquet", rows)
    manifest = take(tmp_path, Source("x.parquet", text="body", id="doc"))
    large = pa.large_string()
    names = [
        ("text", large),
        ("doc", pa.int64()),
        ("id", pa.int64()),
        ("text_original", large),
        ("tag", large),
    ]
    assert manifest.schemas[""] == pa.schema(names)
    row = {"text": "a", "doc": 7, "id": 7, "text_original": "own", "tag": "t"}
    assert read_all(manifest, manifest.schemas[""].names) == [(0, row)]
