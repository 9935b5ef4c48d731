"""The near-duplicate index: month after month keeps what one run keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from index_months import COPY, SURE, TEXTS, Month, against, drops, ids, known, new_index
from whole_runs import go, nodes_of, read_export

from pipeline.config import load_config
from pipeline.engine import make_engine
from pipeline.errors import ConfigError
from pipeline.near_index import NearIndex
from pipeline.near_index_add import _chosen, add
from pipeline.near_similar import similar_documents
from pipeline.prepare import RunOptions, open_store


def test_four_months_one_after_the_other_keep_what_one_run_keeps(tmp_path: Path) -> None:
    new_index(tmp_path)
    one = Month(tmp_path, "one", TEXTS, [f"doc-{i}" for i in range(160)])
    one.run()
    kept: list[str] = []
    for number in range(4):
        low, high = 40 * number, 40 * number + 40
        month = Month(
            tmp_path, f"m{number}", TEXTS[low:high], [f"doc-{i}" for i in range(low, high)], against()
        )
        data = month.run()
        assert data["source"]["rows"] == nodes_of(data)["fuzzy/signature"]["computed_rows"] == 40
        kept += month.kept()
        month.add()
    assert kept == one.kept()
    with_words = {f"doc-{i}" for i, text in enumerate(TEXTS) if text}
    assert ids(tmp_path) == [name for name in kept if name in with_words]


def test_of_three_copies_of_an_indexed_document_all_go(tmp_path: Path) -> None:
    """PEERS row 5: an index must not spend itself on the first copy."""
    first = Month(tmp_path, "first", [COPY, "something else"])
    first.run()
    first.add()
    second = Month(tmp_path, "second", [COPY, COPY, "a new text", COPY], fields=against())
    data = second.run()
    assert second.kept() == ["second-2"]
    assert drops(data) == {"near_duplicate_of_index": 3}
    assert {s["evidence"]["kept_id"] for s in data["samples"]} == {"first-0"}
    assert {s["evidence"]["kept_source"] for s in data["samples"]} == {"first"}
    assert {s["evidence"]["similarity"] for s in data["samples"]} == {1.0}


def test_a_run_never_meets_its_own_documents_and_stays_cached(tmp_path: Path) -> None:
    new_index(tmp_path)
    month = Month(tmp_path, "month", TEXTS[:40], fields=against())
    first, kept = month.run(), None
    kept = month.kept()
    assert month.add().new
    again = month.run()
    assert month.kept() == kept
    assert sum(node["computed_rows"] for node in again["nodes"]) == 0
    assert [n["key"] for n in again["nodes"]] == [n["key"] for n in first["nodes"]]


def test_the_same_run_twice_changes_nothing(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    added = month.add()
    before = {path: path.read_bytes() for path in (tmp_path / "known").rglob("*") if path.is_file()}
    again = month.add()
    assert (added.new, again.new) == (True, False)
    assert again.state == added.state
    assert {path: path.read_bytes() for path in (tmp_path / "known").rglob("*") if path.is_file()} == before
    assert added.documents + added.left_out == len(month.kept())


def test_a_later_run_over_the_same_source_replaces_the_earlier_one(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    old = month.add()
    month.run("nodes.fuzzy.threshold=0.68")
    new = month.add()
    assert new.replaced == (old.part,)
    assert new.state.parts == (new.part,)
    assert len(ids(tmp_path)) == new.documents > old.documents


def test_a_source_that_has_grown_replaces_its_part_and_is_compared_with_others(tmp_path: Path) -> None:
    new_index(tmp_path)
    grown = Month(tmp_path, "grown", ["one text of some words here", COPY], fields=against())
    grown.run()
    grown.add()
    other = Month(tmp_path, "other", ["a text of another source altogether"], fields=against())
    other.run()
    other.add()
    more = pa.table({"text": [COPY, "a text of another source altogether", "new"], "id": ["x", "y", "z"]})
    pq.write_table(more, tmp_path / "grown" / "e.parquet")
    data = grown.run()
    assert grown.kept() == ["grown-0", "grown-1", "z"]
    assert drops(data) == {"near_duplicate": 1, "near_duplicate_of_index": 1}
    assert grown.add().replaced != ()
    assert ids(tmp_path) == ["grown-0", "grown-1", "z", "other-0"]
    grown.write(against(), files="grown/e.parquet")
    with pytest.raises(
        ConfigError, match=r"1 of 2 shards of part \w+ of the index .*known belong to this source"
    ):
        grown.run()


def test_an_index_that_grew_since_the_run_looked_at_it(tmp_path: Path) -> None:
    new_index(tmp_path)
    months = [Month(tmp_path, name, [COPY, name], fields=against()) for name in ("a", "b")]
    for month in months:
        month.run()
    months[0].add()
    with pytest.raises(ConfigError, match=r"did not meet 2 documents of the index .*`against` of fuzzy run"):
        months[1].add()
    months[1].run()
    assert months[1].add().documents == 1
    stranger = Month(tmp_path, "stranger", [COPY])
    stranger.run()
    assert "was not compared with the index" in stranger.add().note


def test_the_indexed_side_goes_where_the_config_says_so(tmp_path: Path) -> None:
    old = Month(tmp_path, "old", [COPY, "an old text that stays", COPY.replace("fox", "wolf")])
    old.run("nodes.fuzzy.threshold=0.95")
    old.add()
    better = Month(
        tmp_path, "better", [COPY + " indeed", "unrelated words"], fields=f"{against()}, side: indexed"
    )
    data = better.run()
    assert better.kept() == ["better-0", "better-1"]
    assert drops(data) == {}
    added = better.add()
    assert added.superseded == 2
    assert ids(tmp_path) == ["old-1", "better-0", "better-1"]
    assert known(tmp_path)[1].documents == 3
    third = Month(tmp_path, "third", [COPY], fields=against())
    assert {s["evidence"]["kept_id"] for s in third.run("nodes.fuzzy.max_drop_share=1")["samples"]} == {
        "better-0"
    }
    better.run()
    assert not better.add().new  # what it superseded is still there for itself


def test_what_new_documents_supersede_is_a_column(tmp_path: Path) -> None:
    old = Month(tmp_path, "old", [COPY, "an old text that stays"])
    old.run()
    old.add()
    new = Month(tmp_path, "new", ["unrelated words", COPY + " indeed"], fields=f"{against()}, side: indexed")
    text = new.config.read_text().replace(
        "format: parquet", "format: parquet, columns: [fuzzy/against.supersedes]"
    )
    new.config.write_text(text)
    new.run()
    assert [row["fuzzy/against.supersedes"] for row in read_export(tmp_path / "out-new")] == [None, ["old-0"]]


def test_equal_ids_of_several_sources_and_configs(tmp_path: Path) -> None:
    for name, text in (("a", COPY), ("b", "quite another text of words")):
        month = Month(tmp_path, name, [text], ["same"])
        month.run()
        month.add()
    assert ids(tmp_path) == ["same", "same"]
    last = Month(tmp_path, "last", ["Quite another text of words"], ["same"], against())
    (sample,) = last.run("nodes.fuzzy.max_drop_share=1")["samples"]
    assert (sample["evidence"]["kept_id"], sample["evidence"]["kept_source"]) == ("same", "b")


@pytest.mark.parametrize(
    ("given", "found"),
    [([7, -1], ["7", "-1"]), (["seven", None], ["seven", "uid:1"]), (False, ["uid:0", "uid:1"])],
)
def test_ids_that_are_no_strings_and_documents_without(tmp_path: Path, given: Any, found: list[str]) -> None:
    month = Month(tmp_path, "month", [COPY, "some other text"], given)
    month.run()
    month.add()
    assert ids(tmp_path) == found


def test_several_sources_are_named(tmp_path: Path) -> None:
    for name in ("web", "wiki"):
        Month(tmp_path, name, [f"{COPY} in {name} alone {name} {name}"])
    (tmp_path / "all.yaml").write_text(
        "sources: {web: {path: web/*.parquet, id: id}, wiki: {path: wiki/*.parquet, id: id}}\n"
        f"nodes:\n  fuzzy: {{op: minhash_dedup, {SURE.replace('0.485', '0.95')}}}\n"
    )
    config = load_config(tmp_path / "all.yaml")
    go(tmp_path / "all.yaml")
    index = NearIndex(tmp_path / "known")
    add(index, open_store(config, RunOptions()), config, None, "fuzzy", make_engine("local", 1))
    near = similar_documents(index.open(index.state()), COPY, 5, 0.1)
    assert {document.source for document in near} == {"all/web", "all/wiki"}


def test_no_document_and_no_index(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", ["...", ""], fields=against())
    with pytest.raises(
        ConfigError, match=r"month.yaml:3: fuzzy.against: no such near-duplicate index: .*known"
    ):
        month.run()
    (tmp_path / "known").mkdir()
    with pytest.raises(ConfigError, match=r"month.yaml:3: fuzzy.against: .*known is no near-duplicate index"):
        month.run()
    new_index(tmp_path)
    month.run()
    added = month.add()
    assert (added.documents, added.left_out) == (0, 2)
    other = Month(tmp_path, "other", [COPY, "..."], fields=against())
    other.run()
    assert other.kept() == ["other-0", "other-1"]
    assert similar_documents(known(tmp_path)[1], COPY, 5, 0.5) == []


def test_empty_texts_meet_nothing(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", [COPY, "", "..."])
    month.run()
    month.add()
    other = Month(tmp_path, "other", ["", "...", "?", COPY], fields=against())
    other.run()
    assert other.kept() == ["other-0", "other-1", "other-2"]


def test_heads_and_sets_of_the_documents(tmp_path: Path) -> None:
    long = "Ünïcödé 中文 " * 40
    month = Month(tmp_path, "month", [COPY, long])
    month.run()
    month.add()
    ((_, chunk, _),) = known(tmp_path)[1].chunks()
    assert chunk.heads.to_pylist() == [COPY, long[:120]]
    assert np.diff(chunk.offsets).tolist() == [len(COPY.split()) - 1, 2]
    assert pc.count_distinct(pa.array(chunk.hashes)).as_py() == len(COPY.split()) + 1


def test_an_evaluation_set_beside_the_index_is_no_second_signature(tmp_path: Path) -> None:
    """decontaminate has a field `against` too."""
    (tmp_path / "asked.jsonl").write_text('{"text": "one two three four five six seven eight"}\n')
    text = "source: {path: x.parquet}\nnodes:\n  fuzzy: {op: minhash_dedup}\n"
    (tmp_path / "c.yaml").write_text(text + "  asked: {op: decontaminate, against: asked.jsonl}\n")
    config = load_config(tmp_path / "c.yaml")
    assert _chosen(config, None).name == "fuzzy"
    with pytest.raises(ConfigError, match="decontaminate makes no signatures"):
        _chosen(config, "asked")
