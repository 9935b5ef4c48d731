"""Several sources and branches: who is alive where they join, and which column a name means."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_runs import documents, go, nodes_of, read_export, write_config, write_cut

from pipeline.cli import main
from pipeline.errors import ConfigError

TWO = """
    sources:
      web:  {path: web, id: id}
      wiki: {path: wiki, id: id}
    nodes:
      long:  {op: length_filter, input: web, unit: words, min: 3}
      exact: {op: exact_dedup, input: wiki}
      all:   {op: exact_dedup, input: [long, exact], join: any, keep: longest}
    export: {path: out/, columns: [all.copies], dropped: gone/}
"""


@pytest.fixture
def two(tmp_path: Path) -> Path:
    web = documents(["one two three", "short", "same words here", "four of them now", "a"])
    wiki = documents(["x", "x", "same words here", "y"])
    wiki = wiki.set_column(0, "id", pa.array([f"wiki-{i}" for i in range(4)]))
    write_cut(tmp_path / "web", web, files=2)
    write_cut(tmp_path / "wiki", wiki, files=1)
    return write_config(tmp_path, TWO)


def test_branches_of_different_sources_cannot_be_joined_by_all(two: Path) -> None:
    text = two.read_text().replace(", join: any", "")
    two.write_text(text)
    with pytest.raises(
        ConfigError, match=r"c\.yaml:8: all: no row comes through all of long, exact.*`join: any`"
    ):
        go(two)


def ids(folder: Path) -> list[str]:
    return [row["id"] for row in read_export(folder)]


def test_a_branch_starts_at_each_source_and_any_joins_them(two: Path) -> None:
    data = go(two)
    nodes = nodes_of(data)
    assert (nodes["long"]["rows_in"], nodes["long"]["rows_out"]) == (5, 3)
    assert (nodes["exact"]["rows_in"], nodes["exact"]["rows_out"]) == (4, 3)
    assert (nodes["all"]["rows_in"], nodes["all"]["rows_out"]) == (6, 5)
    assert ids(two.parent / "out") == ["doc-0", "doc-2", "doc-3", "wiki-0", "wiki-3"]
    gone = {row["id"]: (row["dropped_by"], row["reason"]) for row in read_export(two.parent / "gone")}
    assert gone == {
        "doc-1": ("long", "too_short"),
        "doc-4": ("long", "too_short"),
        "wiki-1": ("exact", "exact_duplicate"),
        "wiki-2": ("all", "exact_duplicate"),
    }


def test_a_node_without_input_begins_at_all_sources(two: Path) -> None:
    write_config(
        two.parent, TWO.split("nodes:")[0] + "nodes: {exact: {op: exact_dedup}}\n    export: {path: out}\n"
    )
    assert go(two)["source"]["rows"] == 9
    assert ids(two.parent / "out") == ["doc-0", "doc-1", "doc-2", "doc-3", "doc-4", "wiki-0", "wiki-3"]


DIAMOND = """
    source: {path: in, id: id}
    nodes:
      all:   {op: exact_dedup}
      first: {op: length_filter, input: all, unit: words, min: 3}
      other: {op: length_filter, input: all, max: 6}
      both:  {op: JOINED}
    export: {path: out/, input: both, dropped: gone/}
"""


@pytest.fixture
def diamond(tmp_path: Path) -> Path:
    texts = ["a b", "a b c", "abc def ghi", "abc defghi", "a b"]
    write_cut(tmp_path / "in", documents(texts), files=2)
    return tmp_path


@pytest.mark.parametrize(
    ("join", "kept", "reasons"),
    [
        ("all", [1], {"doc-0": "first", "doc-2": "other", "doc-3": "first", "doc-4": "all"}),
        ("any", [0, 1, 2], {"doc-3": "first", "doc-4": "all"}),
    ],
)
def test_two_dropping_branches_join(
    diamond: Path, join: str, kept: list[int], reasons: dict[str, str]
) -> None:
    joined = f"length_filter, input: [first, other], join: {join}, min: 0"
    data = go(write_config(diamond, DIAMOND.replace("JOINED", joined)))
    assert ids(diamond / "out") == [f"doc-{i}" for i in kept]
    assert {row["id"]: row["dropped_by"] for row in read_export(diamond / "gone")} == reasons
    assert nodes_of(data)["both"]["rows_in"] == len(kept)


def test_a_name_that_two_branches_give_is_an_error_that_names_both(diamond: Path) -> None:
    text = "importance, input: [first, other], score: length, keep_rows: 1"
    with pytest.raises(
        ConfigError, match=r"c\.yaml:7: both\S* reads 'length', which could be first\.length or other\.length"
    ):
        go(write_config(diamond, DIAMOND.replace("JOINED", text)))
    named = text.replace("score: length", "score: first.length")
    go(write_config(diamond, DIAMOND.replace("JOINED", named)))
    assert ids(diamond / "out") == ["doc-1"]


@pytest.mark.parametrize(
    ("joined", "said"),
    [
        ("importance, input: all, score: losss, keep_rows: 1", "'losss'"),
        ("importance, input: all, score: text, keep_rows: 1", "as a number"),
        ("importance, input: first, score: other.length, keep_rows: 1", "other is not above it"),
        ("importance, input: all, score: all.length, keep_rows: 1", "all adds drop, kept, copies"),
    ],
)
def test_a_missing_or_mistyped_column_is_found_by_the_plan_with_its_line(
    diamond: Path, joined: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(diamond, DIAMOND.replace("JOINED", joined))
    for command in ("plan", "run"):
        assert main([command, str(config)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "c.yaml:7" in error
    assert not (diamond / ".tamis/nodes").exists()


def test_a_score_that_the_other_branch_dropped_is_said_clearly(
    diamond: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `any` a row may come from the branch that never computed the column."""
    split = """
        sources: {a: {path: in, id: id}, b: {path: other, id: id}}
        nodes:
          sized: {op: length_filter, input: a, min: 0}
          pick:  {op: importance, input: [sized, b], join: any, score: sized.length, keep_rows: 1}
    """
    (diamond / "other").mkdir()
    pq.write_table(documents(["else"]), diamond / "other/0.parquet")
    assert main(["run", str(write_config(diamond, split))]) == 3
    error = capsys.readouterr().err
    assert "sized.length has no value for" in error
    assert "other/0.parquet:row 0" in error
