"""Shards that are worked through in slices: many fragments, runs and segments give what one of each gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from whole_runs import corpus, go, read_export, write_config, write_cut

from pipeline import messages, shards, shuffle, tasks
from pipeline.config import load_config
from pipeline.prepare import RunOptions, manifests
from pipeline.store import Store
from pipeline.view import _union

CONFIG = """
    source: {path: in, id: id}
    nodes:
      long:  {op: length_filter, unit: words, min: 3}
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup, threshold: 0.7, clusters: true}
      lines: {op: line_dedup, min_line: 2}
    export: {path: out, dropped: gone}
"""


def outcome(folder: Path, batch_rows: int) -> list[dict[str, Any]]:
    """Every document that a run exports, and every one that it drops with the evidence."""
    write_cut(folder / "in", corpus(400), files=1)
    go(write_config(folder, CONFIG), batch_rows=batch_rows)
    return read_export(folder / "out") + read_export(folder / "gone")


def test_the_slices_of_a_shard_do_not_change_what_a_run_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = outcome(tmp_path / "whole", 4096)
    monkeypatch.setattr(tasks, "FRAGMENT_BYTES", 2000)
    monkeypatch.setattr(tasks, "MAPPED_ROWS", 32)
    monkeypatch.setattr(messages, "RUN_BYTES", 500)
    monkeypatch.setattr(messages, "CHUNK_ROWS", 64)
    monkeypatch.setattr(shuffle, "CHUNK_ROWS", 16)
    monkeypatch.setattr(shuffle, "SEGMENT_BYTES", 300)
    assert outcome(tmp_path / "slices", 16) == whole
    folders = {p.parent for p in (tmp_path / "slices/.tamis/nodes").rglob("0000000000.json")}
    assert max(len(list(folder.glob("*.json"))) for folder in folders) > 5  # of one node for one shard


def test_a_shard_of_small_rows_ends_by_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_ROWS", 100)
    write_cut(tmp_path / "in", corpus(400), files=1, group=30)
    text = "source: {path: in, id: id}\nnodes: {e: {op: exact_dedup}}\n"
    config = load_config(write_config(tmp_path, text))
    found = manifests(config, Store(str(tmp_path / "store")), RunOptions(), lambda _: None)[""]
    assert [shard.rows for shard in found.shards] == [90, 90, 90, 90, 40]


def test_fragments_that_follow_each_other_are_not_copied() -> None:
    parts = [pa.table({"row": pa.array(rows, pa.uint32()), "x": rows}) for rows in ([0, 2], [3, 5], [9])]
    joined = _union(parts)
    assert joined.to_pydict() == {"row": [0, 2, 3, 5, 9], "x": [0, 2, 3, 5, 9]}
    assert [c.buffers()[1].address for c in joined["x"].chunks] == [
        part["x"].chunk(0).buffers()[1].address for part in parts
    ]
    overlapping = _union([parts[0], pa.table({"row": pa.array([1, 2], pa.uint32()), "x": [7, 7]})])
    assert overlapping.to_pydict() == {"row": [0, 1, 2], "x": [0, 7, 2]}
