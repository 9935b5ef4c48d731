"""Where documents are: the order of files, the cut into shards, and what later runs find again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_files import Source, jsonl, read_all, take, write_arrow, write_bytes, write_parquet

from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest, take_inventory
from pipeline.store import Store


def table(*texts: str) -> pa.Table:
    return pa.table({"text": list(texts), "id": [f"id-{t}" for t in texts]})


def texts(manifest: Manifest) -> list[str]:
    return [row["text"] for _, row in read_all(manifest, ["text"])]


def test_files_are_ordered_by_path_within_each_pattern(tmp_path: Path) -> None:
    for name in ("b/2", "a/9", "b/1"):
        write_parquet(tmp_path / f"{name}.parquet", table(name))
    manifest = take(tmp_path, Source(["b/*.parquet", "*/*.parquet"]))
    assert [f.name for f in manifest.files] == ["b/1.parquet", "b/2.parquet", "a/9.parquet"]
    assert read_all(manifest, ["text"]) == [(0, {"text": "b/1"}), (1, {"text": "b/2"}), (2, {"text": "a/9"})]


def test_a_folder_gives_its_data_files_only(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in/deep/x.parquet", table("x"))
    write_bytes(tmp_path / "in/y.jsonl.gz", jsonl([{"text": "y", "id": "id-y"}]))
    write_bytes(tmp_path / "in/README.md", b"# not data")
    write_bytes(tmp_path / "in/_SUCCESS", b"")
    write_bytes(tmp_path / "in/.hidden/z.jsonl", b"{}")
    assert texts(take(tmp_path, Source("in"))) == ["x", "y"]


def test_a_file_name_with_brackets_is_no_glob(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a[1].parquet", table("x"))
    assert texts(take(tmp_path, Source("a[1].parquet"))) == ["x"]


@pytest.mark.parametrize(
    ("path", "says"), [("no/*.parquet", "no such file"), ("x.parquet.bak", "format:"), ("docs", "format:")]
)
def test_a_path_without_data_is_refused(tmp_path: Path, path: str, says: str) -> None:
    write_bytes(tmp_path / "x.parquet.bak", b"")
    write_bytes(tmp_path / "docs/a.md", b"")
    with pytest.raises(ConfigError, match=says):
        take(tmp_path, Source(path))


def test_the_format_can_be_given(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.data", jsonl([{"text": "a"}]))
    assert texts(take(tmp_path, Source("x.data", format="jsonl"))) == ["a"]


def test_several_sources_stand_one_after_the_other(tmp_path: Path) -> None:
    write_parquet(tmp_path / "w.parquet", table("w1", "w2"))
    write_parquet(tmp_path / "a.parquet", pa.table({"body": ["a1"]}))
    manifest = take(tmp_path, {"web": Source("w.parquet"), "wiki": Source("a.parquet", text="body")})
    assert [(s.source, s.base, s.rows) for s in manifest.shards] == [("web", 0, 2), ("wiki", 2, 1)]
    assert manifest.schemas["wiki"].names == ["text"]
    assert texts(manifest) == ["w1", "w2", "a1"]
    shard, row = manifest.locate(2)
    assert (shard.source, row) == ("wiki", 0)
    with pytest.raises(IndexError, match="no uid 3"):
        manifest.locate(3)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 4), st.sampled_from("pas")), min_size=1, max_size=5
    ),
    shard_bytes=st.sampled_from([1, 60, 300, None]),
    batch_rows=st.integers(1, 12),
)
def test_rows_and_uids_do_not_depend_on_the_cut(
    tmp_path: Path, cuts: list[tuple[int, int, str]], shard_bytes: int | None, batch_rows: int
) -> None:
    """Any split of the same rows into files, row groups, record batches and shards."""
    base = tmp_path / "cut"
    shutil.rmtree(base, ignore_errors=True)
    total = sum(rows for rows, _, _ in cuts)
    whole = pa.table(
        {
            "text": pa.array([f"t{i}" * i if i % 3 else None for i in range(total)], pa.string()),
            "n": range(total),
        }
    )
    start = 0
    for number, (rows, group, kind) in enumerate(cuts):
        part = whole.slice(start, rows)
        if kind == "p":
            write_parquet(base / f"in/{number}.parquet", part, group)
        else:
            write_arrow(base / f"in/{number}.arrow", part, group, stream=kind == "s")
        start += rows
    manifest = take(base, Source("in", shard_bytes=shard_bytes))
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert read_all(manifest, ["n", "text"], batch_rows) == list(
        enumerate(whole.select(["n", "text"]).to_pylist())
    )
    assert len({s.id for s in manifest.shards}) == len(manifest.shards)
    assert all(s.rows == sum(p.rows for p in s.pieces) for s in manifest.shards)


def test_big_files_are_split_and_small_ones_packed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in/a.parquet", table(*(f"{i}" * 100 for i in range(8))), group=2)
    for name in "bcd":
        write_parquet(tmp_path / f"in/{name}.parquet", table(name))
    size = take(tmp_path, Source("in", shard_bytes=1)).shards[0].bytes
    manifest = take(tmp_path, Source("in", shard_bytes=2 * size))
    units = [[(p.file, p.units) for p in s.pieces] for s in manifest.shards]
    assert units[:2] == [[(0, (0, 1))], [(0, (2, 3))]]
    assert [file for file, _ in units[2]] == [1, 2, 3]


def test_two_files_with_the_same_content_are_two_shards(tmp_path: Path) -> None:
    for name in "ab":
        write_parquet(tmp_path / f"{name}.parquet", table("x"))
    manifest = take(tmp_path, Source("*.parquet", shard_bytes=1))
    first, second = (s.id for s in manifest.shards)
    assert first != second
    os.remove(tmp_path / "b.parquet")
    assert take(tmp_path, Source("*.parquet", shard_bytes=1)).shards[0].id == first


def test_what_a_column_is_read_from_changes_the_shards_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", pa.table({"text": ["a"], "title": ["b"], "n": [1]}))
    sources = [
        Source("x.parquet"),
        Source("x.parquet", text="title"),
        Source("x.parquet", id="title"),
        Source("x.parquet", types={"n": "float64"}),
    ]
    assert len({take(tmp_path, source).shards[0].id for source in sources}) == 4


def test_new_files_come_after_the_old_ones(tmp_path: Path) -> None:
    for name in "bd":
        write_parquet(tmp_path / f"in/{name}.parquet", table(name))
    write_bytes(tmp_path / "in/e.jsonl", jsonl([{"text": "e", "id": "id-e"}]))
    before = take(tmp_path, Source("in"))
    write_parquet(tmp_path / "in/a.parquet", table("a"))
    after = take(tmp_path, Source("in"), previous=before)
    assert after.shards[: len(before.shards)] == before.shards
    assert read_all(after, ["text"]) == list(enumerate({"text": t} for t in "bdea"))
    assert after.identity() != before.identity()
    again = take(tmp_path, Source("in"), previous=after)
    assert again == after


def test_other_settings_keep_the_order_of_the_rows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in/b.parquet", table("b", "c"), group=1)
    before = take(tmp_path, Source("in"))
    write_parquet(tmp_path / "in/a.parquet", table("a"))
    after = take(tmp_path, Source("in", shard_bytes=1, id="id"), previous=before)
    assert texts(after) == ["b", "c", "a"]
    assert len(after.shards) == 3


def test_a_changed_or_vanished_file_is_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_parquet(tmp_path / f"in/{name}.parquet", table(name))
    before = take(tmp_path, Source("in"))
    write_parquet(tmp_path / "in/b.parquet", table("other"))
    os.remove(tmp_path / "in/c.parquet")
    with pytest.raises(DataError, match="accept-source") as caught:
        take(tmp_path, Source("in"), previous=before)
    assert "in/b.parquet changed" in str(caught.value)
    assert "in/c.parquet is gone" in str(caught.value)
    assert "in/a.parquet" not in str(caught.value)


@pytest.mark.parametrize("kind", ["arrow", "jsonl", "parquet"])
def test_one_changed_letter_changes_the_fingerprint(tmp_path: Path, kind: str) -> None:
    """Same size, same row counts, and a date that tells nothing."""

    def write(text: str) -> None:
        path = tmp_path / f"x.{kind}"
        if kind == "jsonl":
            write_bytes(path, jsonl([{"text": text}]))
        else:
            (write_arrow if kind == "arrow" else write_parquet)(
                path, pa.table({"text": ["m" * 40, text, "z", "a"]})
            )
        os.utime(path, (1, 1))

    write("hello")
    before = take(tmp_path, Source("x.*"))
    assert take(tmp_path, Source("x.*"), previous=before) == before
    write("hallo")
    with pytest.raises(DataError, match=f"x.{kind} changed"):
        take(tmp_path, Source("x.*"), previous=before)


def test_a_moved_folder_is_the_same_source(tmp_path: Path) -> None:
    write_parquet(tmp_path / "one/in/a.parquet", table("a"))
    write_bytes(tmp_path / "one/in/b.csv", b"text,id\nb,id-b\n")
    before = take(tmp_path / "one", Source("in"))
    os.rename(tmp_path / "one", tmp_path / "two")
    after = take(tmp_path / "two", Source("in"), previous=before)
    assert after.identity() == before.identity()
    assert texts(after) == ["a", "b"]


def test_a_source_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.jsonl", b"")
    manifest = take(tmp_path, Source("x.jsonl", text="body", id="n", types={"n": "int64"}))
    assert manifest.shards == ()
    assert manifest.rows == 0
    assert manifest.schemas[""].names == ["text", "n", "id"]
    write_parquet(tmp_path / "y.parquet", pa.table({"text": pa.array([], pa.string())}))
    assert take(tmp_path, Source("y.parquet")).shards == ()


def test_a_plan_knows_the_columns_before_the_conversion(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.jsonl", jsonl([{"text": "a", "n": 1}]))
    write_bytes(tmp_path / "y.csv", b"text,n\na,1\n")
    store = Store(str(tmp_path / ".store"))
    inventory = take_inventory({"j": Source("x.jsonl"), "c": Source("y.csv")}, tmp_path, store)
    assert [task.name for task in inventory.to_convert] == ["x.jsonl", "y.csv"]
    both = pa.schema([("text", pa.large_string()), ("n", pa.int64())])
    assert inventory.schemas(store) == {"j": both, "c": both}
    assert store.list("ingest") == []
    with pytest.raises(DataError, match="has not been converted"):
        inventory.manifest(store, None)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_a_file_that_is_no_such_file_is_named(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, b"ARROW1 this is no footer")
    with pytest.raises(DataError, match=f"{name}: not a readable"):
        take(tmp_path, Source(name))


def test_parquet_and_jsonl_from_s3(s3_url: str, tmp_path: Path) -> None:
    fs = pytest.importorskip("s3fs").S3FileSystem()
    write_parquet(tmp_path / "p.parquet", table(*"abcdef"), group=2)
    write_bytes(tmp_path / "q.jsonl.gz", jsonl([{"text": "g", "id": "id-g"}]))
    for name in ("p.parquet", "q.jsonl.gz"):
        fs.put_file(str(tmp_path / name), f"{s3_url}/source/{name}")
    source, store = Source(f"{s3_url}/source", shard_bytes=1), f"{s3_url}/store"
    manifest = take(tmp_path, source, store=store)
    assert texts(manifest) == list("abcdefg")
    assert [f.name for f in manifest.files] == [f"{s3_url}/source/{n}" for n in ("p.parquet", "q.jsonl.gz")]
    assert all("-etag-" in f.fingerprint for f in manifest.files)
    assert texts(take(tmp_path, Source(f"{s3_url}/source/*.parquet"), store=store)) == list("abcdef")
    fs.pipe_file(f"{s3_url}/source/q.jsonl.gz", b"")
    with pytest.raises(DataError, match=r"q.jsonl.gz changed"):
        take(tmp_path, source, previous=manifest, store=store)


def test_memory_files(tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe_file("/corpus/x.csv", b"text,n\nhello,1\n")
    assert read_all(take(tmp_path, Source("memory://corpus/*.csv")), ["text", "n"]) == [
        (0, {"text": "hello", "n": 1})
    ]
    fs.rm("/corpus", recursive=True)
