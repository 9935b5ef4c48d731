"""Operators that edit the text: whoever is below reads it edited, edits compose, exports write the result."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from whole_runs import digests, documents, go, nodes_of, read_export, write_config, write_cut

from pipeline.cli import main
from pipeline.errors import ConfigError, DataError

EDITOR = '''
from __future__ import annotations

import re
from typing import Any, ClassVar

import pyarrow as pa

from operators.contract import CUTS, TEXT, Adds, Columns, MapOp, Reads, Uses


class Mask(MapOp):
    """Replaces every match of a pattern."""

    pattern: str = "x"
    """What to replace."""
    instead: str = ""
    """What to put there."""
    shift: int = 0
    """Moves every cut, to make a mistake."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"cuts": CUTS}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"cuts": pa.array([self._cuts(t.as_py()) for t in batch.column("text")], CUTS)}

    def _cuts(self, text: str | None) -> list[dict[str, Any]] | None:
        if text is None:
            return None
        spans = [m.span() for m in re.finditer(self.pattern, text)]
        places = [tuple(len(text[:i].encode()) + self.shift for i in span) for span in spans]
        return [{"start": a, "end": b, "text": self.instead} for a, b in places]
'''
TEXTS = ["one two three", "zwei drei", "eins ZWEI zwei", "", "ünü ünü zwei", "nothing here", "three"]
CONFIG = """
    source: {path: data, id: id}
    nodes:
      first:  {op: ./mask.py, pattern: "zwei|two", instead: "2 €"}
      second: {op: ./mask.py, pattern: "€ ?|ü"}
      long:   {op: length_filter, unit: characters, min: 6}
    export: {path: out}
"""
BRANCHES = """
source: {path: data, id: id}
nodes:
  first: {op: ./mask.py, pattern: "zwei|two", instead: "2 €"}
  tight: {op: length_filter, unit: characters, min: 9}
  short: {op: length_filter, input: source, unit: characters, max: 8}
  all:   {op: length_filter, input: [tight, short], join: any, unit: characters, min: 0}
export: {path: out}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_cut(tmp_path / "data", documents(TEXTS), files=2)
    (tmp_path / "mask.py").write_text(EDITOR)
    return write_config(tmp_path, CONFIG)


def edited(text: str) -> str:
    return re.sub("€ ?|ü", "", re.sub("zwei|two", "2 €", text))


def test_edits_compose_and_are_read_below(config: Path) -> None:
    data = go(config)
    assert [row["text"] for row in read_export(config.parent / "out")] == [
        edited(t) for t in TEXTS if len(edited(t)) >= 6
    ]
    node = nodes_of(data)["long"]
    assert node["rows_out"] == sum(len(edited(t)) >= 6 for t in TEXTS)
    assert node["bytes_in"] == sum(len(edited(t).encode()) for t in TEXTS)
    assert nodes_of(data)["first"]["bytes_in"] == sum(len(t.encode()) for t in TEXTS)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_engine")
def test_ray_writes_the_same_text(config: Path, tmp_path: Path) -> None:
    go(config)
    there = digests(config.parent / "out")
    go(config, ["export.path=ray"], engine="ray", store=str(tmp_path / "other"))
    assert {k: v for k, v in digests(config.parent / "ray").items() if "part" in k} == {
        k: v for k, v in there.items() if "part" in k
    }


def test_a_change_of_an_edit_is_computed_again_below(config: Path) -> None:
    go(config)
    data = go(config, ["nodes.second.instead=_____"])
    computed = {name: node["computed_rows"] for name, node in nodes_of(data).items() if node["face"]}
    assert computed == {"first": 0, "second": len(TEXTS), "long": len(TEXTS)}
    texts = [re.sub("€ ?|ü", "_____", re.sub("zwei|two", "2 €", t)) for t in TEXTS]
    assert [row["text"] for row in read_export(config.parent / "out")] == [t for t in texts if len(t) >= 6]


def test_rows_of_another_branch_keep_their_text(config: Path) -> None:
    config.write_text(BRANCHES)
    go(config)
    first = [re.sub("zwei|two", "2 €", t) for t in TEXTS]
    alive = [i for i, t in enumerate(TEXTS) if len(first[i]) >= 9 or len(t) <= 8]
    assert [row["text"] for row in read_export(config.parent / "out")] == [first[i] for i in alive]


def test_two_editors_side_by_side_are_refused(config: Path) -> None:
    text = config.read_text().replace("second: {op", "second: {input: source, op")
    config.write_text(text.replace("long:   {op", "long:   {input: [first, second], op"))
    with pytest.raises(ConfigError, match="first and second both edit the text on branches of their own"):
        go(config)


def test_an_index_cannot_hold_edits(config: Path) -> None:
    with pytest.raises(ConfigError, match="second edits the text, which format: index leaves where it is"):
        go(config, ["export.format=index"])


def test_cuts_that_do_not_fit_name_node_and_row(config: Path) -> None:
    with pytest.raises(DataError, match=r"first: in the batch from .*part-000.parquet:row 0: .*do not fit"):
        go(config, ["nodes.first.shift=100"])


def test_why_shows_the_original(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(config)
    assert main(["why", "--config", str(config), "last", "doc-0"]) == 0
    assert "one two three" in capsys.readouterr().out
