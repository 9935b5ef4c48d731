"""The same rows and the same bytes from any engine, worker count, batch size and cut of the corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from whole_runs import corpus, digests, go, nodes_of, read_export, write_config, write_cut

from pipeline.engine import Engine

DAG = """
    source: {{path: in/*.parquet, text: text, id: id, shard_bytes: {shard_bytes}}}
    seed: 7
    nodes:
      exact: {{op: exact_dedup}}
      fuzzy: {{op: minhash_dedup, threshold: 0.8, keep: longest}}
      long:  {{op: length_filter, unit: words, min: 5}}
      under: {{op: undersample, by: domain, ratio: 0.5}}
      pick:  {{op: importance, score: score, keep_share: 0.5}}
      order: {{op: curriculum, difficulty: length, pacing: root}}
    export: {{path: out/, format: parquet, columns: [long.length, order], file_bytes: 8KB}}
"""
ROWS = 640


@dataclass(frozen=True)
class Way:
    """One way to run the same thing."""

    files: int
    shards: int
    batch_rows: int
    workers: int
    engine: str = "local"


REFERENCE = Way(files=1, shards=1, batch_rows=4096, workers=1)


def result(folder: Path, way: Way) -> tuple[dict[str, str], list[str], dict[str, Any]]:
    """(hashes of the export's files, the ids in its order, what the books say of each node)."""
    write_cut(folder / "in", corpus(ROWS), way.files, ROWS // max(way.files, way.shards))
    config = write_config(folder, DAG.format(shard_bytes=1 if way.shards > 1 else "1GB"))
    data = go(config, engine=way.engine, batch_rows=way.batch_rows, workers=way.workers)
    assert data["source"]["shards"] == way.shards
    books = {
        name: (n["rows_in"], n["rows_out"], n["bytes_out"], n["dropped"])
        for name, n in nodes_of(data).items()
    }
    files = {name: mark for name, mark in digests(folder / "out").items() if name != "_tamis.json"}
    return files, [row["id"] for row in read_export(folder / "out")], books


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return result(tmp_path_factory.mktemp("reference"), REFERENCE)


def test_every_step_of_the_reference_drops_some_rows_and_the_export_has_several_files(reference: Any) -> None:
    files, ids, books = reference
    assert len(files) > 2
    assert len(ids) == len(set(ids)) == books["order"][1] > 50
    for name in ("exact", "fuzzy", "long", "under", "pick"):
        assert 0 < books[name][1] < books[name][0]


@pytest.mark.parametrize(
    "way",
    [
        Way(files=5, shards=5, batch_rows=7, workers=2),
        Way(files=1, shards=10, batch_rows=4096, workers=1),
        Way(files=64, shards=64, batch_rows=4096, workers=2),
    ],
    ids=str,
)
def test_local_gives_the_same_bytes_for_any_cut(tmp_path: Path, way: Way, reference: Any) -> None:
    assert result(tmp_path, way) == reference


@pytest.mark.ray
def test_ray_gives_the_same_bytes_as_local(tmp_path: Path, ray_engine: Engine, reference: Any) -> None:
    way = Way(files=5, shards=10, batch_rows=7, workers=2, engine="ray")
    assert result(tmp_path, way) == reference
