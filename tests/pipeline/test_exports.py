"""The export: formats, the order across files, the dropped rows beside it, and folders that are not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_runs import births, corpus, digests, go, read_export, write_config, write_cut

from pipeline import export as exports
from pipeline.errors import ConfigError
from pipeline.export import claim

ROWS = 400
DAG = """
    source: {path: in, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      exact: {op: exact_dedup}
      long:  {op: length_filter, unit: words, min: 5}
      order: {op: curriculum, difficulty: length, pacing: linear}
    export:
      - {path: parquet/, columns: [order, long.length], file_bytes: 8KB, dropped: gone/}
      - {path: arrow/, format: arrow, columns: [order], file_bytes: 8KB}
      - {path: lines/, format: jsonl.zst, file_bytes: 8KB}
      - {path: index/, format: index, columns: [order], file_bytes: 8KB}
      - {path: unordered/, input: long}
      - {path: all/, input: exact, columns: [exact.copies], dropped: copies/}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with six exports."""
    folder = tmp_path_factory.mktemp("exports")
    write_cut(folder / "in", corpus(ROWS), files=4)
    return folder, go(write_config(folder, DAG))


@pytest.fixture
def folder(done: tuple[Path, dict[str, Any]]) -> Path:
    return done[0]


def source_rows(folder: Path) -> list[dict[str, Any]]:
    tables = [pq.ParquetFile(path).read() for path in sorted((folder / "in").glob("*"))]
    return [row for table in tables for row in table.to_pylist()]


def test_the_order_across_the_files_is_the_order_of_all_rows(folder: Path) -> None:
    rows = read_export(folder / "parquet")
    orders = [row["order"] for row in rows]
    assert len(list((folder / "parquet").glob("part-*"))) > 3
    assert orders == sorted(orders)
    assert len(set(orders)) > 0.9 * len(orders)
    easy, hard = rows[: len(rows) // 4], rows[-len(rows) // 4 :]
    assert sum(len(r["text"]) for r in easy) < 0.6 * sum(len(r["text"]) for r in hard)


def test_all_formats_hold_the_same_rows_in_the_same_order(folder: Path) -> None:
    rows = read_export(folder / "parquet")
    plain = [{name: row[name] for name in ("id", "text", "domain", "score")} for row in rows]
    assert [{name: row[name] for name in plain[0]} for row in read_export(folder / "arrow")] == plain
    assert read_export(folder / "lines") == plain


def test_the_index_says_where_each_row_lies_in_the_source(folder: Path) -> None:
    source = {str(p): pq.ParquetFile(p).read().to_pylist() for p in (folder / "in").glob("*")}
    index = read_export(folder / "index")
    assert [row["id"] for row in index] == [row["id"] for row in read_export(folder / "parquet")]
    for row in index:
        assert source[row["file"]][row["row"]]["id"] == row["id"] == f"doc-{row['uid']}"
        assert set(row) == {"uid", "file", "row", "id", "order"}


def test_without_an_order_the_rows_stay_in_that_of_the_source(folder: Path) -> None:
    ids = [int(row["id"].removeprefix("doc-")) for row in read_export(folder / "unordered")]
    assert ids == sorted(ids)
    assert set(ids) == {int(row["id"].removeprefix("doc-")) for row in read_export(folder / "parquet")}


def test_kept_and_dropped_are_the_source_without_overlap_and_every_drop_has_its_reason(folder: Path) -> None:
    for kept, gone, nodes in (("parquet", "gone", {"exact", "long"}), ("all", "copies", {"exact"})):
        stayed, went = read_export(folder / kept), read_export(folder / gone)
        ids = [row["id"] for row in stayed + went]
        assert len(ids) == len(set(ids)) == ROWS
        assert {row["dropped_by"] for row in went} == nodes
        texts = {row["id"]: row["text"] for row in source_rows(folder)}
        for row in went:
            assert row["text"] == texts[row["id"]]
            evidence = json.loads(row["evidence"])
            if row["dropped_by"] == "exact":
                assert row["reason"] == "exact_duplicate"
                assert texts[f"doc-{evidence['kept']}"] == row["text"]
            else:
                assert row["reason"] == "too_short"
                assert evidence == {"length": len(row["text"].split())}


def test_added_columns_have_their_values(folder: Path) -> None:
    assert all(row["long.length"] == len(row["text"].split()) for row in read_export(folder / "parquet"))
    texts = [row["text"] for row in source_rows(folder)]
    assert all(row["exact.copies"] == texts.count(row["text"]) for row in read_export(folder / "all"))


def test_the_run_data_tell_of_every_export(done: tuple[Path, dict[str, Any]]) -> None:
    data = done[1]
    assert [e["format"] for e in data["exports"]] == [
        "parquet",
        "arrow",
        "jsonl.zst",
        "index",
        "parquet",
        "parquet",
    ]
    for export in data["exports"]:
        parts = list(Path(export["path"]).glob("part-*"))
        assert export["rows"] == len(read_export(Path(export["path"])))
        assert export["files"] == len(parts)
        assert export["bytes"] == sum(p.stat().st_size for p in parts)


def test_the_same_export_again_writes_nothing(folder: Path) -> None:
    before = {name: births(folder / name) for name in ("parquet", "gone", "index", "unordered")}
    go(folder / "c.yaml")
    assert {name: births(folder / name) for name in before} == before


def test_another_export_replaces_its_own_files_only(folder: Path, tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(ROWS), files=4)
    config = write_config(tmp_path, DAG)
    go(config)
    many = set(digests(tmp_path / "parquet"))
    go(config, ["nodes.long.min=40"])
    assert set(digests(tmp_path / "parquet")) < many
    rows = read_export(tmp_path / "parquet")
    assert rows
    assert all(len(row["text"].split()) >= 40 for row in rows)
    assert len(rows) + len(read_export(tmp_path / "gone")) == ROWS


def test_a_folder_with_somebody_elses_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(20), files=1)
    config = write_config(
        tmp_path, "source: {path: in, id: id}\nnodes: {exact: {op: exact_dedup}}\nexport: {path: in/}\n"
    )
    before = digests(tmp_path / "in")
    with pytest.raises(ConfigError, match=r"holds .*part-000\.parquet"):
        go(config)
    assert digests(tmp_path / "in") == before
    assert not (tmp_path / ".tamis/nodes").exists()  # it was seen before anything ran
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("important")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        go(config, ["export.path=mine"])
    assert (tmp_path / "mine/notes.txt").read_text() == "important"


@pytest.mark.parametrize("outputs", ["{path: o, dropped: o/}", "[{path: o}, {path: ./o}]"])
def test_two_outputs_in_one_folder_are_refused(tmp_path: Path, outputs: str) -> None:
    write_cut(tmp_path / "in", corpus(20), files=1)
    text = f"source: {{path: in, id: id}}\nnodes: {{exact: {{op: exact_dedup}}}}\nexport: {outputs}\n"
    with pytest.raises(ConfigError, match="each needs its own"):
        go(write_config(tmp_path, text))
    assert not (tmp_path / "o").exists()


def test_a_killed_export_leaves_no_licence_to_delete(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(20), files=1)
    config = write_config(
        tmp_path, "source: {path: in, id: id}\nnodes: {exact: {op: exact_dedup}}\nexport: {path: out}\n"
    )
    claim(str(tmp_path / "out"), "another", ["part-00000.parquet"])
    (tmp_path / "out/part-00007.parquet").write_text("mine")
    with pytest.raises(ConfigError, match=r"part-00007\.parquet, which tamis did not write"):
        go(config)
    assert (tmp_path / "out/part-00007.parquet").read_text() == "mine"


def test_the_source_of_a_second_stage_is_not_its_export(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(20), files=1)
    first = "source: {path: in, id: id}\nnodes: {exact: {op: exact_dedup}}\nexport: {path: out}\n"
    go(write_config(tmp_path, first))
    before = digests(tmp_path / "out")
    with pytest.raises(ConfigError, match="holds the source file"):
        go(write_config(tmp_path, first.replace("path: in", "path: out/*.parquet")))
    assert digests(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["uid", "row", "file", "reason", "dropped_by", "evidence"])
def test_a_source_may_call_its_columns_what_it_likes(tmp_path: Path, name: str) -> None:
    rows = corpus(20)
    rows = rows.append_column(name, pa.array([f"v{i}" for i in range(rows.num_rows)]))
    write_cut(tmp_path / "in", rows, files=1)
    text = "nodes: {short: {op: length_filter, min: 200}}\nexport: {path: out, dropped: gone}\n"
    go(write_config(tmp_path, f"source: {{path: in, id: id}}\n{text}"))
    both = read_export(tmp_path / "out") + read_export(tmp_path / "gone")
    assert sorted(row[name] for row in both) == sorted(f"v{i}" for i in range(rows.num_rows))


def test_what_a_worker_that_died_left_half_written_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cut(tmp_path / "in", corpus(20), files=2)
    whole = exports._write

    def write(made: exports.Export, number: int, batches: Any) -> dict[str, int]:
        Path(made.path, f".part-{number:05d}.parquet.ffff").touch()
        return whole(made, number, batches)

    monkeypatch.setattr(exports, "_write", write)
    text = "source: {path: in, shard_bytes: 1}\nnodes: {exact: {op: exact_dedup}}\nexport: {path: out/}\n"
    go(write_config(tmp_path, text))
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["_tamis.json", "part-00000.parquet", "part-00001.parquet"]
