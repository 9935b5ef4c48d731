"""A memory budget is kept by smaller batches, runs and fragments, and changes no byte of a result."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_runs import corpus, digests, documents, go, plan_text, write_config, write_cut

from operators.kernels import room
from pipeline import allotment, needs
from pipeline.allotment import check_machine, derived, machine_bytes, parse_memory
from pipeline.config import load_config
from pipeline.engine import Engine, make_engine
from pipeline.errors import ConfigError
from pipeline.graph import Graph
from pipeline.ordered import chunk_bytes
from pipeline.prepare import RunOptions, manifests
from pipeline.store import Store
from pipeline.tasks import artifact_name
from pipeline.view import ShardView

SMALL = 1 << 18
DAG = """
    source: {path: in, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup, threshold: 0.8}
      lines: {op: line_dedup}
      spans: {op: substring_dedup, length: 10}
      long:  {op: length_filter, unit: words, min: 5}
      pick:  {op: importance, score: score, keep_share: 0.8}
      order: {op: curriculum, difficulty: length, pacing: root}
    export:
      - {path: out/, columns: [order], file_bytes: 20KB}
      - {path: plain/, input: long, format: jsonl.zst, dropped: gone/}
"""


@pytest.fixture(autouse=True)
def tiny_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets far under what a row group of 64 MB takes: here files hold 20 kB."""
    monkeypatch.setattr(needs, "FILES_BYTES", 0)


def made(folder: Path) -> dict[str, Any]:
    """What the store gives for each node: its columns by shard, however cut, and its artifact."""
    config, store = load_config(folder / "c.yaml"), Store(str(folder / ".tamis"))
    found = manifests(config, store, RunOptions(), lambda _: None)
    values: dict[str, Any] = {}
    for name, node in Graph(config, found).build().items():
        if store.exists(artifact_name(node.key)):
            artifact = store.get_artifact(artifact_name(node.key))
            values[f"{name} artifact"] = {key: array.tobytes() for key, array in artifact.items()}
        for index in range(len(found[node.data].shards)):
            table = ShardView(store, found[node.data], index).table(node.key, node.positional)
            values[f"{name} {index}"] = table.unify_dictionaries().to_pylist()
    return values


def run(folder: Path, rows: int = 400, **options: Any) -> dict[str, Any]:
    write_cut(folder / "in", corpus(rows), files=2, group=rows)
    return go(write_config(folder, DAG), **options)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roomy")
    run(folder, workers=1)
    return folder


def written(folder: Path) -> dict[str, str]:
    return digests(folder, "out", "plain", "gone")


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_small_budget_gives_the_same_columns_and_bytes(
    roomy: Path, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_engine")
    data = run(tmp_path, engine=engine, memory=SMALL, workers=2)
    assert data["memory"] == SMALL
    assert written(tmp_path) == written(roomy)
    assert made(tmp_path) == made(roomy)


def pieces(folder: Path, memory: int | None, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a run wrote data files of each kind of part of the store."""
    seen: Counter[str] = Counter()
    put = Store.put_batches

    def counted(self: Store, place: str, *rest: Any) -> Any:
        kind = place.split("/")
        seen[
            "run" if kind[0] == "exports" else kind[-1] if kind[-1] in ("emit", "reply") else "fragment"
        ] += 1
        return put(self, place, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_batches", counted)
        run(folder, 900, memory=memory, workers=1)
    return seen


def test_what_is_held_follows_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [pieces(tmp_path / str(size), size, monkeypatch) for size in (1 << 30, 1 << 20, SMALL)]
    for kind in ("run", "emit", "fragment"):
        many, more, most = (seen[kind] for seen in found)
        assert many <= more < most, (kind, found)
    assert found[2]["run"] >= 3 * found[0]["run"]


def test_a_run_leaves_no_budget_behind(tmp_path: Path) -> None:
    before = room.allowed()
    run(tmp_path, memory=1 << 26, workers=1, rows=50)
    assert room.allowed() == before != 1 << 26


def test_chunks_of_all_runs_together_stay_a_sixteenth_of_the_budget() -> None:
    before = room.allowed()
    room.allow(256 << 20)
    try:
        for total in (1 << 20, 1 << 30, 1 << 34):
            runs = -(-total // room.within(64_000_000, 8))
            assert chunk_bytes(total) * runs <= (256 << 20) // 16 or chunk_bytes(total) == 1 << 14
    finally:
        room.allow(before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5 apples", "is no size"),
        ("-3GB", "the least is 64MiB"),
        ("1kB", "the least is 64MiB"),
        ("", "is no size"),
    ],
)
def test_a_budget_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        parse_memory(text)
    command = [sys.executable, "-m", "pipeline.cli", "plan", "c.yaml", f"--memory={text}"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert said in told.stderr


def test_a_config_declares_a_budget_and_the_command_overrules_it(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(20), files=1)
    config = write_config(tmp_path, DAG.replace("seed: 7", "seed: 7\n    memory: 512MiB"))
    assert "memory: 537 MB for each of 2 workers (declared)" in plan_text(config, workers=2)
    assert "memory: 1.00 GB for each of 2 workers" in plan_text(config, workers=2, memory=10**9)
    assert go(config, workers=1)["memory"] == 512 << 20
    with pytest.raises(ConfigError, match=r"c.yaml:.*memory.*'much' is no size"):
        load_config(write_config(tmp_path, DAG.replace("seed: 7", "memory: much")))
    with pytest.raises(ConfigError, match=r"c.yaml:.*memory = .*greater than or equal to 67108864"):
        load_config(write_config(tmp_path, DAG.replace("seed: 7", "memory: 1MB")))


def test_more_than_the_machine_has_is_refused_before_anything_runs(tmp_path: Path) -> None:
    there = machine_bytes()
    assert there is not None
    write_cut(tmp_path / "in", corpus(20), files=1)
    config = write_config(tmp_path, DAG)
    for refused in (
        lambda: plan_text(config, memory=there, workers=2),
        lambda: go(config, memory=there, workers=2),
        lambda: check_machine(there + 1, 1),
    ):
        with pytest.raises(ConfigError, match=r"more than the .* that this machine has; give at most"):
            refused()
    assert not (tmp_path / ".tamis" / "nodes").exists()
    assert 0.69 * there <= 3 * derived(3) <= 0.7 * there


def test_a_container_bounds_the_memory(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    (tmp_path / "groups" / "a" / "b").mkdir(parents=True)
    (tmp_path / "groups" / "a" / "memory.max").write_text(f"{5 << 28}\n")
    (tmp_path / "groups" / "a" / "b" / "memory.max").write_text("max\n")
    assert machine_bytes(str(tmp_path / "cgroup"), str(tmp_path / "groups")) == 5 << 28


def test_a_budget_too_small_for_files_says_the_least_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "FILES_BYTES", 192 << 20)
    write_cut(tmp_path / "in", corpus(20), files=1)
    config = write_config(tmp_path, DAG)
    for refused in (plan_text, go):
        with pytest.raises(ConfigError, match=r"too little.*the least that works is --memory 192MiB"):
            refused(config, memory=allotment.FLOOR, workers=1)
    assert "192MiB" not in plan_text(config, memory=192 << 20, workers=1)


def test_the_plan_says_which_node_may_take_more(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", documents(["a b c d"] * 40, score=np.arange(40.0)), files=1)
    text = "source: {path: in, id: id}\nnodes: {target: {op: dsir, target: in, buckets: 16000000}}\n"
    told = plan_text(write_config(tmp_path, text), memory=1 << 28, workers=1)
    assert "(ngram_counts) may take 384 MB: its summary of all rows has up to 128 MB" in told
    assert "--memory 367MiB, or" in told
    assert "may take" not in plan_text(tmp_path / "c.yaml", memory=1 << 30, workers=1)


def test_the_plan_looks_into_loops_and_fits(tmp_path: Path) -> None:
    vectors = [[float(i % 7), 1.0] for i in range(40)]
    write_cut(tmp_path / "in", documents(["a b c d"] * 40, vector=vectors), files=1)
    some = "{op: k_center, embedding: vector, keep_rows: 5}"
    nodes = f"{{near: {{op: kmeans, column: vector, clusters: 4000}}, some: {some}}}"
    config = write_config(tmp_path, f"source: {{path: in, id: id}}\nnodes: {nodes}\n")
    told = plan_text(config, memory=1 << 26, workers=1)
    assert "near (kmeans, kmeans_move) may take 393 MB: its summary of all rows has up to 131 MB" in told
    assert "some (k_center)" not in told  # 40 rows fit anywhere


@pytest.mark.ray
def test_ray_places_no_more_tasks_than_have_memory(ray_engine: Engine) -> None:
    from pipeline import ray_cluster

    most = max(int(node["Resources"]["memory"]) for node in ray_cluster.alive_nodes())
    alone = most - ray_cluster.BASE_BYTES
    with closing(make_engine("ray", memory=alone)) as engine:
        assert engine.workers == 1 < ray_engine.workers
        assert sorted(engine.run(pow, 2, range(3))) == [(0, 1), (1, 2), (2, 4)]
    with pytest.raises(ConfigError, match=r"more than any node of the Ray cluster gives .* give at most"):
        make_engine("ray", memory=alone + 1)
    with closing(make_engine("ray", memory=1 << 26)) as engine:
        assert engine.workers == ray_engine.workers
