"""JSONL, CSV and Arrow streams become Parquet: every value kept, every mistake named by its line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_files import Source, jsonl, read_all, rows, take, write_arrow, write_bytes

from pipeline import ingest, ingest_json
from pipeline.errors import DataError
from pipeline.manifest import take_inventory
from pipeline.store import Store


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few lines, so that small files have many."""
    monkeypatch.setattr(ingest_json, "BLOCK_BYTES", 64)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=20),
    numbers=st.lists(st.integers(-(2**53), 2**53) | st.none(), min_size=20, max_size=20),
    ending=st.sampled_from(["jsonl", "jsonl.gz", "jsonl.zst"]),
    blank=st.sampled_from(["", "\n", "  \r\n\n"]),
    block=st.integers(1, 200),
)
def test_json_lines_come_back(
    tmp_path: Path, texts: list[str], numbers: list[int | None], ending: str, blank: str, block: int
) -> None:
    """The standard library's json is the oracle, for any block size, with or without blank lines."""
    records = [{"text": t, "n": n} for t, n in zip(texts, numbers, strict=False)]
    data = blank.join(
        json.dumps(r, ensure_ascii=len(t["text"]) % 2 == 0) + "\n" for r in records for t in [r]
    )
    path = tmp_path / f"x.{ending}"
    write_bytes(path, (blank + data).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_json, "BLOCK_BYTES", block)
        assert rows(tmp_path, path.name, types={"n": "int64"}) == records
    shutil.rmtree(tmp_path)


def test_types_of_json(tmp_path: Path) -> None:
    record = {"text": "2020-01-01", "date": "2020-01-01 10:00:00", "deep": [{"when": "2020-01-01", "n": 1.5}]}
    record |= {"flag": True, "none": None, "word": "12"}
    write_bytes(tmp_path / "x.jsonl", jsonl([record]))
    assert rows(tmp_path, "x.jsonl") == [record]


def test_objects_without_keys(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {
            "text": "a",
            "meta": {},
            "list": [{}, None],
            "deep": {"x": {}, "y": [1]},
            "in": [{"q": {}, "r": 1}, {}],
        },
        {"text": "b", "meta": None, "list": None, "deep": None, "in": None},
    ]
    write_bytes(tmp_path / "x.jsonl", jsonl(records))
    first, second = rows(tmp_path, "x.jsonl")
    deep = {"x": None, "y": [1]}
    assert first == records[0] | {
        "meta": None,
        "list": [None, None],
        "deep": deep,
        "in": [{"q": None, "r": 1}, {"q": None, "r": None}],
    }
    assert second == records[1]


@pytest.mark.usefixtures("small_blocks")
def test_rows_without_any_known_column_are_rows(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.jsonl", b'{"text": "a"}\n' + b"{}\n" * 60 + b'{"text": "b"}\n')
    assert [r["text"] for r in rows(tmp_path, "x.jsonl")] == ["a", *[None] * 60, "b"]
    write_bytes(tmp_path / "y.jsonl", b"\n{}\n")
    with pytest.raises(DataError, match=r"y.jsonl:1: the objects from here on have no keys"):
        rows(tmp_path, "y.jsonl")


def test_big_integers_are_not_rounded(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.jsonl", jsonl([{"text": "a", "n": 1}, {"text": "b", "n": 2**64 - 1}]))
    with pytest.raises(
        DataError, match=r"x.jsonl:2: column 'n': 18446744073709551615 would lose digits.*schema"
    ):
        rows(tmp_path, "x.jsonl")
    assert [r["n"] for r in rows(tmp_path, "x.jsonl", types={"n": "uint64"})] == [1, 2**64 - 1]
    write_bytes(tmp_path / "y.jsonl", b'{"text": "a", "n": 1e300}\n{"text": "b", "n": 9007199254740992}\n')
    assert [r["n"] for r in rows(tmp_path, "y.jsonl")] == [1e300, 2.0**53]


def test_a_value_that_its_declared_type_cannot_hold(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.jsonl", jsonl([{"text": "a", "n": 1}, {"text": "b", "n": 1.5}]))
    with pytest.raises(DataError, match=r"x.jsonl:2: .*1.5.*schema"):
        rows(tmp_path, "x.jsonl", types={"n": "int64"})


@pytest.mark.usefixtures("small_blocks")
def test_columns_that_come_late_or_widen(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"text": f"t{i}", "n": i} for i in range(20)]
    records += [
        {"text": "late", "n": 0.5, "new": "x", "meta": {"a": 1}},
        {"text": "z", "meta": {"b": [1, None]}},
    ]
    write_bytes(tmp_path / "x.jsonl", jsonl(records))
    found = rows(tmp_path, "x.jsonl")
    assert [r["text"] for r in found] == [r["text"] for r in records]
    assert [r["n"] for r in found] == [r.get("n") for r in records]
    assert [r["new"] for r in found] == [r.get("new") for r in records]
    assert [r["meta"] for r in found[-3:]] == [None, {"a": 1, "b": None}, {"a": None, "b": [1, None]}]


def test_numbers_that_a_float_cannot_hold_are_not_rounded(tmp_path: Path, small_blocks: None) -> None:
    write_bytes(
        tmp_path / "x.jsonl", jsonl([{"text": "t" * 60, "n": 0.5}, {"text": "u" * 60, "n": 2**53 + 1}])
    )
    with pytest.raises(DataError, match=r"x.jsonl: column 'n' holds integers and floats.*schema: \{n:"):
        rows(tmp_path, "x.jsonl")


def test_a_column_declared_as_string_keeps_other_values_as_json(tmp_path: Path) -> None:
    values: list[Any] = [1, "one", {"a": [1]}, None, 2**70, True]
    write_bytes(tmp_path / "x.jsonl", jsonl({"text": "t", "v": v} for v in values))
    found = [r["v"] for r in rows(tmp_path, "x.jsonl", types={"v": "string"})]
    assert found == ["1", "one", '{"a": [1]}', None, str(2**70), "true"]
    write_bytes(tmp_path / "y.jsonl", b'{"text": "t", "v": 1}\n{"text": "t", "v": oops}\n')
    with pytest.raises(DataError, match=r"y.jsonl:2: not valid JSON"):
        rows(tmp_path, "y.jsonl", types={"v": "string"})


GOOD = b'{"text": "a", "n": 1}\n'
MISTAKES = [
    (b'{"text": "b", "n": }\n', r":4: not valid JSON .*\"b\".*one JSON object a line"),
    (b'{"text": "b"\n', r":4: not valid JSON"),
    (b'["a"]\n', r":4: a line must be one JSON object"),
    (b'{"text": "b"} {"text": "c"}\n', r":4: 2 JSON objects on one line"),
    (b'{"text": "caf\xe9"}\n', r":4: invalid UTF-8 .*caf"),
    (b'{"text": "\\ud800"}\n', r":4: not valid JSON .*surrogate"),
    (
        b'{"text": "b", "n": "one"}\n',
        r":4: column 'n' is large_string here and int64 before.*schema: \{n: string\}",
    ),
    (b'{"text": "b", "n": true}\n', r":4: column 'n' is bool here and int64 before"),
    (b'{"text": 7}\n', r":4: .*Column\(/text\) changed from string to number.*schema: \{text: string\}"),
    (b'{"text": "b", "n": 1, "n": 2}\n', r":4: .*twice"),
    (b'{"text": "b", "l": [1, "x"]}\n', r":4: .*schema: \{l: string\}"),
]


@pytest.mark.parametrize(("line", "says"), MISTAKES)
@pytest.mark.parametrize("many_blocks", [False, True])
def test_a_wrong_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, says: str, many_blocks: bool
) -> None:
    if many_blocks:
        monkeypatch.setattr(ingest_json, "BLOCK_BYTES", 8)
    write_bytes(tmp_path / "x.jsonl.gz", GOOD + b"\n" + GOOD + line + GOOD)
    with pytest.raises(DataError, match=r"x.jsonl.gz" + says):
        rows(tmp_path, "x.jsonl.gz")
    assert not [n for n in Store(str(tmp_path / ".store")).list("ingest") if n.endswith(".json")]


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst", "x.csv.gz"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_an_error(tmp_path: Path, name: str, keep: float) -> None:
    body = b"text\n" + b"".join(b"%d\n" % (i * i) for i in range(9999))
    write_bytes(tmp_path / name, body if "csv" in name else jsonl({"text": str(i * i)} for i in range(9999)))
    os.truncate(tmp_path / name, int(keep * (tmp_path / name).stat().st_size))
    with pytest.raises(DataError, match=rf"{name}.*incomplete"):
        rows(tmp_path, name)


def test_files_without_rows(tmp_path: Path) -> None:
    for name, data in (("a.jsonl", b""), ("b.jsonl.zst", b"\n \n"), ("c.csv", b""), ("d.csv", b"text,n\n")):
        write_bytes(tmp_path / name, data)
        assert rows(tmp_path, name) == []
    write_bytes(tmp_path / "e.jsonl", b"\xef\xbb\xbf" + b'{"text": "bom"}')
    assert rows(tmp_path, "e.jsonl") == [{"text": "bom"}]


def test_arrow_streams(tmp_path: Path) -> None:
    """Hugging Face datasets write streams into files that end in .arrow."""
    table = pa.table({"text": list("abc"), "tag": pa.array(["x", None, "x"]).dictionary_encode()})
    write_arrow(tmp_path / "x.arrow", table, 2, stream=True)
    assert rows(tmp_path, "x.arrow") == table.to_pylist()
    data = (tmp_path / "x.arrow").read_bytes()
    (tmp_path / "y.arrow").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"y.arrow"):
        rows(tmp_path, "y.arrow")


def test_the_missing_text_column_is_not_made_up(tmp_path: Path) -> None:
    from pipeline.errors import ConfigError

    write_bytes(tmp_path / "x.jsonl", jsonl([{"body": "a"}]))
    with pytest.raises(ConfigError, match="no column 'text' for `text`; it has: body"):
        rows(tmp_path, "x.jsonl")


def test_a_conversion_is_done_once_and_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "ROW_GROUP_BYTES", 2000)
    monkeypatch.setattr(ingest, "PART_BYTES", 4000)
    monkeypatch.setattr(ingest_json, "BLOCK_BYTES", 500)
    write_bytes(tmp_path / "x.jsonl.gz", jsonl({"text": f"{i}" * 20} for i in range(300)))
    contents = []
    for name in ("one", "two"):
        store = Store(str(tmp_path / name))
        inventory = take_inventory({"": Source("x.jsonl.gz")}, tmp_path, store)
        (task,) = inventory.to_convert
        record = ingest.convert(store, task)
        assert record["rows"] == 300
        assert record["parts"] > 2
        # A second attempt, and one that a dead attempt left half of its parts to.
        assert ingest.convert(store, task) == record
        store.delete(f"ingest/{task.key}/done.json")
        assert ingest.convert(store, task) == record
        contents.append({n: store.read(n) for n in store.list("ingest")})
    assert contents[0] == contents[1]
    manifest = take(tmp_path, Source("x.jsonl.gz", shard_bytes=3000), store=str(tmp_path / "one"))
    assert [r["text"] for _, r in read_all(manifest, ["text"])] == [f"{i}" * 20 for i in range(300)]
    assert len(manifest.shards) > 2
    assert manifest.files[0].path == str(tmp_path / "x.jsonl.gz")


def test_a_file_that_is_rewritten_meanwhile(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.jsonl", jsonl([{"text": "a"}]))
    store = Store(str(tmp_path / ".store"))
    (task,) = take_inventory({"": Source("x.jsonl")}, tmp_path, store).to_convert
    write_bytes(tmp_path / "x.jsonl", jsonl([{"text": "b"}]))
    with pytest.raises(DataError, match="changed while it was read"):
        ingest.convert(store, task)
    assert ingest.converted(store, task) is None


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "ROW_GROUP_BYTES", 1 << 20)
    monkeypatch.setattr(ingest_json, "BLOCK_BYTES", 1 << 18)
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"
    write_bytes(tmp_path / "x.jsonl.gz", line * 40_000)
    store = Store(str(tmp_path / ".store"))
    (task,) = take_inventory({"": Source("x.jsonl.gz")}, tmp_path, store).to_convert
    aligned, seen, before = ingest._aligned, [], pa.total_allocated_bytes()

    def watched(*given: Any) -> pa.Table:
        table = aligned(*given)
        seen.append(pa.total_allocated_bytes() - before)
        return table

    monkeypatch.setattr(ingest, "_aligned", watched)
    assert ingest.convert(store, task)["rows"] == 40_000
    assert len(seen) > 100
    assert max(seen) < 12 << 20
    # Equal texts are small in a file; what a shard holds is what they are once they are read.
    assert sum(s.bytes for s in take(tmp_path, Source("x.jsonl.gz")).shards) > 40_000_000
