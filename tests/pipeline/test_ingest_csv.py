"""CSV becomes Parquet: fields as the standard library's csv writes them, mistakes named by line."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_files import rows, write_bytes

from pipeline import ingest_csv
from pipeline.errors import DataError


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=25)] * 2),
        max_size=15,
    ),
    ending=st.sampled_from(["csv", "csv.gz", "tsv"]),
)
def test_csv_comes_back(tmp_path: Path, table: list[tuple[str, str]], ending: str) -> None:
    """Written by the standard library's csv, with quotes, newlines and delimiters in the fields."""
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter="\t" if "tsv" in ending else ",", quoting=csv.QUOTE_ALL, lineterminator="\n"
    )
    writer.writerows([("text", "other"), *table])
    path = tmp_path / f"x.{ending}"
    write_bytes(path, text.getvalue().encode())
    found = rows(tmp_path, path.name, types={"other": "string"})
    assert found == [{"text": a, "other": b} for a, b in table]
    shutil.rmtree(tmp_path)


def test_types_of_csv(tmp_path: Path) -> None:
    write_bytes(
        tmp_path / "x.csv",
        b'text,i,f,zip,empty,quoted,id\n1,1,0.5,007,,"",1\n2,,-1e3,010,,"",2\n"",-3,nan,1,,"",3\n,4,1,2,,"",4\n',
    )
    found = rows(tmp_path, "x.csv", id="id")
    assert [r["text"] for r in found] == ["1", "2", "", None]
    assert [r["i"] for r in found] == [1, None, -3, 4]
    assert [str(r["f"]) for r in found] == ["0.5", "-1000.0", "nan", "1.0"]
    assert [r["zip"] for r in found] == ["007", "010", "1", "2"]
    assert [(r["empty"], r["quoted"], r["id"]) for r in found] == [(None, "", str(n)) for n in (1, 2, 3, 4)]


CSV_MISTAKES = [
    (b'"two\nlines",1\nx,1,2\n', r":4: 3 fields where the header has 2: 'x,1,2'"),
    (b"x\n", r":2: 1 fields where the header has 2"),
    (
        b'"two\nlines",1\n' * 9 + b"x,one\n",
        r":20: column 'n' is int64 before and 'one' here.*schema: \{n: string\}",
    ),
    (b"x,1\ncaf\xe9,2\n", r":3: column 'text': invalid UTF-8 in b'caf"),
]


@pytest.mark.parametrize(("body", "says"), CSV_MISTAKES)
def test_a_wrong_row_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, says: str
) -> None:
    if "one" in says:
        monkeypatch.setattr(ingest_csv, "BLOCK_BYTES", 64)
    write_bytes(tmp_path / "x.csv", b"text,n\n" + body)
    with pytest.raises(DataError, match="x.csv" + says):
        rows(tmp_path, "x.csv")


def test_csv_against_its_schema(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.csv", b'text,n,b\n"a\nb",1,true\nc,x,false\n')
    with pytest.raises(DataError, match=r"x.csv:4: column 'n': 'x' is no int64"):
        rows(tmp_path, "x.csv", types={"n": "int64"})
    assert [r["b"] for r in rows(tmp_path, "x.csv", types={"b": "bool"})] == [True, False]
    for header, says in ((b"text,text\n", "two columns named 'text'"), (b"text,\n", "without a name")):
        write_bytes(tmp_path / "h.csv", header)
        with pytest.raises(DataError, match=f"h.csv:1: .*{says}"):
            rows(tmp_path, "h.csv")


def test_a_column_of_integers_may_become_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_csv, "BLOCK_BYTES", 64)
    write_bytes(tmp_path / "y.csv", b"text,n\n" + b"some words here,1\n" * 9 + b"x,0.5\n" + b"y,2\n" * 30)
    assert [r["n"] for r in rows(tmp_path, "y.csv")] == [1] * 9 + [0.5] + [2] * 30
