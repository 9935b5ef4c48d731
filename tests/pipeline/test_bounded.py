"""What must not grow with the corpus: the bytes that the driver fetches a shard, the memory of a worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from whole_runs import corpus, documents, go, kill_when, nodes_of, tamis, write_config, write_cut

from pipeline.ledger import load_run
from pipeline.store import Store

DAG = """
    source: {path: in, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup, threshold: 0.8}
      long:  {op: length_filter, unit: words, min: 5}
      under: {op: undersample, by: domain, ratio: 0.5}
      pick:  {op: importance, score: score, keep_share: 0.5}
      order: {op: curriculum, difficulty: length, pacing: root}
      worker: {op: ./peak_memory.py}
    export: {path: out/, columns: [order], file_bytes: 64KB, dropped: gone/}
"""
PEAK = '''
from __future__ import annotations

import resource

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, MapOp, Reads, Uses


class PeakMemory(MapOp):
    """The most memory that the process of this row's task has had, in kB; after all other nodes."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"kb": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"kb": pa.array(np.full(batch.num_rows, peak))}
'''


def fetched(folder: Path, shards: int, rows: int, engine: str) -> dict[str, Any]:
    write_cut(folder / "in", corpus(rows), files=shards)
    (folder / "peak_memory.py").write_text(PEAK)
    return go(write_config(folder, DAG), engine=engine, workers=2)


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_the_driver_fetches_at_most_10_kb_a_shard(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_engine")
    data = fetched(tmp_path, 8, 512, engine)
    assert data["source"]["shards"] == 8
    assert 0 < data["fetched_bytes"] / 8 <= 10_000


def test_a_column_with_a_value_a_row_is_no_group_and_no_burden(tmp_path: Path) -> None:
    urls = [f"https://example.org/{'path/' * 20}{i}" for i in range(3000)]
    write_cut(tmp_path / "in", documents(list(map(str, range(3000))), source=urls), files=2)
    text = "source: {path: in, id: id, shard_bytes: 1}\nnodes: {e: {op: exact_dedup}}\n"
    data = go(write_config(tmp_path, text))
    assert data["groups"] is None
    assert data["fetched_bytes"] / 2 <= 10_000


def test_groups_are_counted_before_and_after(tmp_path: Path) -> None:
    table = corpus(400)
    write_cut(tmp_path / "in", table, files=4)
    text = """
        source: {path: in, id: id, shard_bytes: 1}
        nodes: {under: {op: undersample, by: domain, to: smallest}}
    """
    groups = go(write_config(tmp_path, text))["groups"]
    sizes = {name: table["domain"].to_pylist().count(name) for name in ("web", "wiki", "code")}
    assert groups == {"column": "domain", "in": sizes, "out": dict.fromkeys(sizes, min(sizes.values()))}


@pytest.mark.slow
@pytest.mark.ray
def test_a_corpus_four_times_as_large_leaves_the_memory_of_a_worker_flat(tmp_path: Path) -> None:
    """Each size in a cluster of its own, as a worker's peak never falls."""
    peaks: dict[str, float] = {}
    for name, shards in (("warm", 4), ("small", 4), ("large", 16)):
        folder = tmp_path / name
        write_cut(folder / "in", corpus(4000 * shards), files=shards)
        (folder / "peak_memory.py").write_text(PEAK)
        write_config(folder, DAG)
        arguments = ("run", "c.yaml", "--engine", "ray", "--workers", "2", "--address", "local")
        assert not kill_when(tamis(folder, *arguments), lambda: False, limit_s=300)
        data = load_run(Store(str(folder / ".tamis")), None)
        worker = next(s for s in data["scores"] if s["column"] == "worker.kb")
        peaks[name] = worker["max"]
        assert data["fetched_bytes"] / shards <= 10_000
        assert nodes_of(data)["exact"]["rows_in"] == 4000 * shards
    print(f"\npeak of a Ray worker, kB: {peaks} on {os.cpu_count()} CPUs")
    assert peaks["large"] <= 1.15 * peaks["small"]
