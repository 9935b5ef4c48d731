"""A DAG of so many nodes that no single task could tell of them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from whole_runs import corpus, go, write_config

from pipeline import books

CONFIG = """
    source: {path: docs.parquet, id: id, text: text}
    nodes:
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup}
      some: {op: importance, score: score, keep_share: 0.5}
      short: {op: length_filter, max: 100}
"""


def told(data: dict[str, Any]) -> dict[str, Any]:
    """What the books say, without times and names of runs."""
    counts = ("name", "rows_in", "rows_out", "bytes_in", "bytes_out", "dropped", "tokens_out")
    nodes = [{name: node.get(name) for name in counts} for node in data["nodes"]]
    return {name: data[name] for name in ("scores", "samples", "groups", "kept")} | {"nodes": nodes}


def test_books_in_many_parts_are_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path, CONFIG)
    pq.write_table(corpus(200), tmp_path / "docs.parquet")
    monkeypatch.setattr(books, "NODES", 1000)
    whole = told(go(config))
    assert len(whole["nodes"]) > 8
    assert whole["scores"]
    assert sum(whole["groups"]["in"].values()) == 200
    monkeypatch.setattr(books, "NODES", 3)
    assert told(go(config)) == whole
