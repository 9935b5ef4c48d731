"""Files that are damaged, of another kind, empty or not there, and columns that are not what they should be."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from bad_input.kinds import Kind, config, docs

LINES = b'{"id":"a","text":"one two"}\n{"id":"b","text":"three"}\n'
JSONL = config("{path: 'a.jsonl*', id: id}")
CSV = config("{path: '*.csv', id: id}")
FOLDER = config("{path: in, id: id}")
TWO, THREE = {"in": 2, "kept": 2}, {"in": 3, "kept": 3}


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def link(name: str, to: str) -> object:
    def lay(folder: Path) -> None:
        (folder / name).symlink_to(to)

    return lay


def loop_of_links(folder: Path) -> None:
    (folder / "a.parquet").symlink_to("b.parquet")
    (folder / "b.parquet").symlink_to("a.parquet")


_WHOLE, _ARROW, _GZIP, _ZSTD = (
    parquet(docs(50)),
    arrow(docs(50)),
    gzip.compress(LINES * 500),
    zstd(LINES * 500),
)
_GOOD = {"a.jsonl": LINES}


def _files() -> list[Kind]:
    def kind(what: str, gets: int, says: tuple[str, ...], files: dict[str, object], **more: object) -> Kind:
        return Kind("Files", what, gets, says, files, **more)  # type: ignore[arg-type]

    cut = "damaged or incomplete: fetch it again"
    return [
        kind("Parquet cut off", 3, ("{folder}/a.parquet: not", "truncated"), {"a.parquet": _WHOLE[:700]}),
        kind("Parquet with a flipped byte in a page", 3, ("{folder}/a.parquet", "row group 0 is damaged"), {"a.parquet": flipped(_WHOLE, 60)}, by="run"),
        kind("Parquet with a damaged footer", 3, ("{folder}/a.parquet: not a readable parquet",), {"a.parquet": _WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1"}),
        kind("Parquet file of 0 bytes", 3, ("{folder}/a.parquet: not", "truncated"), {"a.parquet": b""}),
        kind("JSON Lines called .parquet", 3, ("{folder}/a.parquet: not", "another format"), {"a.parquet": LINES}),
        kind("Arrow file cut off", 3, ("{folder}/a.arrow",), {"a.arrow": _ARROW[: len(_ARROW) // 2]}, config=config("{path: a.arrow}")),
        kind("Arrow file of 0 bytes", 3, ("{folder}/a.arrow: not a readable arrow file",), {"a.arrow": b""}, config=config("{path: a.arrow}")),
        kind("gzip cut off", 3, ("{folder}/a.jsonl.gz: Truncated", cut), {"a.jsonl.gz": _GZIP[: len(_GZIP) // 2]}, config=JSONL),
        kind("gzip with a wrong checksum", 3, ("{folder}/a.jsonl.gz: zlib", cut), {"a.jsonl.gz": _GZIP[:-8] + bytes(8)}, config=JSONL),
        kind("gzip followed by garbage", 3, ("{folder}/a.jsonl.gz: zlib", cut), {"a.jsonl.gz": _GZIP + b"garbage"}, config=JSONL),
        kind("gzip of two members", 0, (), {"a.jsonl.gz": gzip.compress(LINES) + gzip.compress(b'{"id":"c","text":"x"}\n')}, config=JSONL, rows=THREE, then="all members are read"),
        kind("zstd cut off", 3, ("{folder}/a.jsonl.zst: Truncated", cut), {"a.jsonl.zst": _ZSTD[: len(_ZSTD) // 2]}, config=JSONL),
        kind("zstd of two frames", 0, (), {"a.jsonl.zst": zstd(LINES) + zstd(b'{"id":"c","text":"x"}\n')}, config=JSONL, rows=THREE, then="all frames are read"),
        kind("plain text called .gz", 3, ("{folder}/a.jsonl.gz: zlib", cut), {"a.jsonl.gz": LINES}, config=JSONL),
        kind("gzip called .jsonl", 3, ("{folder}/a.jsonl:1: not lines of text but gzip",), {"a.jsonl": _GZIP}, config=JSONL),
        kind("gzip called .zst", 3, ("{folder}/a.jsonl.zst: ZSTD", cut), {"a.jsonl.zst": _GZIP}, config=JSONL),
        kind("Parquet called .jsonl", 3, ("{folder}/a.jsonl:1: not lines of text but Parquet",), {"a.jsonl": _WHOLE}, config=JSONL),
        kind("Parquet called .csv", 3, ("{folder}/a.csv:1: not lines of text but Parquet",), {"a.csv": _WHOLE}, config=CSV),
        kind("an ending that says nothing", 2, ("{folder}/a.foo: the ending does not say", "`format:`"), {"a.foo": LINES}, config=config("{path: a.foo}")),
        kind("bzip2, xz or gzipped Parquet in a folder", 2, ("{folder}/in/b.jsonl.xz: packed in a way that is not read",), {"in/a.parquet": docs(), "in/b.jsonl.xz": b"x"}, config=FOLDER),
        kind("plain, gzip and zstd mixed in a folder", 0, (), {"in/a.jsonl": b'{"id":"a","text":"x"}\n', "in/b.jsonl.gz": gzip.compress(b'{"id":"b","text":"y"}\n'), "in/c.jsonl.zst": zstd(b'{"id":"c","text":"z"}\n')}, config=FOLDER, rows=THREE, then="each by its own ending"),
        kind("an empty file beside full ones", 0, (), {"a.jsonl": b"", "a.jsonl.2.jsonl": LINES}, config=JSONL, rows=TWO, then="it has no rows"),
        kind("only empty files", 3, ("the source has no documents", "a.jsonl"), {"a.jsonl": b""}, config=JSONL, by="run"),
        kind("Parquet with columns and no rows", 3, ("the source has no documents", "a.parquet"), {"a.parquet": docs(0)}, by="run"),
        kind("a folder without files", 2, ("the folder {folder}/in holds no files",), {}, config=FOLDER, lay=lambda folder: (folder / "in").mkdir()),
        kind("a folder called a.parquet", 2, ("the folder {folder}/a.parquet holds no files",), {}, config=config("{path: a.parquet}"), lay=lambda folder: (folder / "a.parquet").mkdir()),
        kind("a folder without data files", 2, ("in: 1 files, none with a known ending",), {"in/notes.txt": "x"}, config=FOLDER),
        kind("a glob that matches nothing", 2, ("z*.parquet: no such file",), {"a.parquet": docs()}, config=config("{path: 'z*.parquet'}")),
        kind("a link to nothing beside good files", 2, ("{folder}/b.parquet is a link to nothing",), {"a.parquet": docs()}, lay=link("b.parquet", "nowhere")),
        kind("links in a circle", 2, ("{folder}/a.parquet is a link to nothing",), {}, lay=loop_of_links),
        kind("a linked folder inside a folder", 2, ("{folder}/in/more links to a folder",), {"in/a.parquet": docs(), "other/b.parquet": docs()}, config=FOLDER, lay=link("in/more", "../other")),
        kind("a source that has changed since the last run", 3, ("the source is not what earlier runs read", "a.parquet changed", "--accept-source"), {"a.parquet": docs()}, by="run", lay=changed),
    ]  # fmt: skip


def changed(folder: Path) -> None:
    from pipeline.cli import main

    here = os.getcwd()
    assert main(["run", str(folder / "c.yaml"), "--plain"]) == 0
    os.chdir(here)
    pq.write_table(docs(4), folder / "a.parquet")


def _columns() -> list[Kind]:
    def kind(what: str, gets: int, says: tuple[str, ...], *tables: pa.Table, **more: object) -> Kind:
        files = {f"{'ab'[i]}.parquet": table for i, table in enumerate(tables)}
        return Kind("Rows and columns", what, gets, says, files, **more)  # type: ignore[arg-type]

    typed = config("{path: '*.parquet', id: id, schema: {n: int64}}")
    return [
        kind("no text column", 2, ("a.parquet has no column 'text'", "it has: id, body", "`text:`"), docs().rename_columns(["id", "body"])),
        kind("no id column", 2, ("a.parquet has no column 'id'", "`id:`"), docs().rename_columns(["key", "text"])),
        kind("a text column of nearly that name", 2, ("did you mean 'Text'?",), docs().rename_columns(["id", "Text"])),
        kind("the text column renamed in one shard", 2, ("b.parquet has no column 'text'",), docs(), docs().rename_columns(["id", "body"])),
        kind("a column that one shard lacks", 3, ("differ in column 'n'", "b.parquet lacks it", "`schema: {n: <type>}`"), docs(n=[1, 2, 3]), docs()),
        kind("a column of another type in one shard", 3, ("differ in column 'n'", "a.parquet has it as int64"), docs(n=[1, 2, 3]), docs(n=["a", "b", "c"])),
        kind("text that is a list", 2, ("a.parquet: column 'text'", "is list<item: large_string>, not a string"), docs(1, text=[["x"]])),
        kind("text that is a struct", 2, ("a.parquet: column 'text'", "is struct<x: large_string>"), docs(1, text=[{"x": "y"}])),
        kind("text that is a number", 2, ("a.parquet: column 'text'", "is int64, not a string"), docs(1, text=[5])),
        kind("list and struct columns beside the text", 0, (), docs(l=[[1], None, []], s=[{"a": 1}, None, {"a": 2}]), rows=THREE, then="carried along"),
        kind("an id that is a float, a date or a list", 2, ("a.parquet: column 'id'", "is double; an id is a string or an integer"), docs(1, id=[1.5])),
        kind("the same id twice", 0, (), docs(id=["x", "x", "y"]), rows=THREE, then="rows are told apart by their position"),
        kind("ids that are null", 0, (), docs(id=["x", None, None]), rows=THREE, then="rows are told apart by their position"),
        kind("a text that is null", 0, (), docs(text=["x", None, None]), rows=THREE, then="kept; `exact_dedup` compares no empty texts"),
        kind("texts that are all null", 0, (), docs(text=pa.nulls(3)), rows=THREE, then="kept; `exact_dedup` compares no empty texts"),
        kind("NUL characters in text and id", 0, (), docs(2, id=["a\0", "b"], text=["x\0y", "\0"]), rows=TWO, then="a character like any other"),
        kind("dictionary-encoded text", 0, (), docs(2, text=pa.array(["x", "y"]).dictionary_encode()), rows=TWO, then="decoded"),
        kind("large_string in one shard and string in another", 0, (), docs(1, text=pa.array(["x"], pa.large_string())), docs(1, text=["y"]), rows=TWO, then="one type"),
        kind("text as bytes", 0, (), docs(2, text=[b"x", b"y"]), rows=TWO, then="read as UTF-8"),
        kind("text as bytes that are no UTF-8", 3, ("{folder}/a.parquet: row 1, column 'text': invalid UTF-8 in b'y\\xff'",), docs(2, text=[b"x", b"y\xff"]), by="run"),
        kind("a value that `schema:` cannot cast", 3, ("{folder}/a.parquet: row 2, column 'n'", "'x' as a scalar of type int64"), docs(n=["1", "2", "x"]), config=typed, by="run"),
        kind("dates as texts, one of them none", 3, ("{folder}/a.parquet: row 1, column 'n'", "'yesterday'"), docs(2, n=["2020-01-01", "yesterday"]), config=config("{path: a.parquet, schema: {n: 'timestamp[us]'}}"), by="run"),
        kind("`schema:` for a column that is not there", 2, ("names a column that no file has: 'n'",), docs(), config=typed),
        kind("two columns of one name", 3, ("a.parquet: two columns are named 'text'",), pa.Table.from_arrays([pa.array(["x"])] * 3, names=["id", "text", "text"])),
        kind("columns called drop, row, uid or nothing at all", 0, (), docs(**{"drop": ["x", None, None], "row": [1, 2, 3], "uid": [3, 2, 1], "": [1, 2, 3]}), rows=THREE, then="carried along"),
    ]  # fmt: skip


KINDS = [*_files(), *_columns()]
