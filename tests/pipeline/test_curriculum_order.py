"""A curriculum's order is a function of seed and documents: files, workers, resumes and skips leave it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from whole_runs import corpus, go, plan_text, read_export, write_config, write_cut

BATCH = 16
DAG = """
    source: {path: in, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      order: {op: curriculum, difficulty: length, pacing: competence}
    export:
      - {path: text/, file_bytes: 4KB}
      - {path: index/, format: index, columns: [order], file_bytes: 4KB}
"""


def exported(folder: Path, files: int, workers: int) -> dict[str, list[dict[str, Any]]]:
    write_cut(folder / "in", corpus(300), files=files)
    go(write_config(folder, DAG), workers=workers)
    return {name: read_export(folder / name) for name in ("text", "index")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return exported(tmp_path_factory.mktemp("whole"), files=1, workers=1)


@pytest.mark.parametrize(("files", "workers"), [(2, 2), (5, 1)])
def test_any_step_has_the_same_texts_for_any_files_and_workers(
    files: int, workers: int, whole: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    found = exported(tmp_path, files, workers)
    for step in (0, 7, 17):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        assert found["text"][rows] == whole["text"][rows]
    assert [row["id"] for row in found["index"]] == [row["id"] for row in whole["text"]]
    assert [row["order"] for row in found["index"]] == [row["order"] for row in whole["index"]]


def test_a_step_is_read_from_the_index_without_the_steps_before(
    whole: dict[str, list[dict[str, Any]]],
) -> None:
    """What a resumed trainer does: the rows of one step, fetched from the untouched source."""
    for step in (3, 12):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        fetched = [
            pq.ParquetFile(row["file"]).read(["text"]).column("text")[row["row"]].as_py()
            for row in whole["index"][rows]
        ]
        assert fetched == [row["text"] for row in whole["text"][rows]]


def test_the_plan_says_by_what_an_export_is_sorted(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(10), files=1)
    text = plan_text(write_config(tmp_path, DAG))
    assert "export: order -> index/ (index, in the order of order.order)" in text
    unsorted = DAG.replace("curriculum, difficulty: length, pacing: competence", "size")
    assert "(index)" in plan_text(write_config(tmp_path, unsorted.replace("columns: [order], ", "")))
