"""The study of scale: its documents are what they are said to be, its counts do not grow, its sums add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.prepare import RunOptions
from workflows.bench import scale, scale_constants, scale_run, simulate
from workflows.bench.short_documents import (
    EXACT,
    NEAR,
    PLAIN,
    SAMPLE,
    STUB,
    fates,
    texts,
    truth,
    word_slots,
    write,
)

ROWS = 3000
WORDS = pa.table({"text": ["the cat sat on the mat and the dog lay under an old apple tree by night " * 3]})


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    pq.write_table(WORDS, folder / "words.parquet")
    return folder


def grams(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_documents_are_what_they_are_said_to_be() -> None:
    rows = np.arange(ROWS)
    kinds, original = fates(rows)
    said = texts(rows, word_slots(SAMPLE))
    made = said.to_pylist()
    assert set(kinds) == {PLAIN, STUB, EXACT, NEAR}
    seen: dict[str, int] = {}
    for row, (kind, text) in enumerate(zip(kinds, made, strict=True)):
        source = made[original[row]]
        if kind == EXACT:
            assert original[row] < row
            assert kinds[original[row]] == PLAIN
            assert text == source
        elif kind == NEAR:
            assert original[row] < row
            assert kinds[original[row]] == PLAIN
            assert len(grams(text) & grams(source)) / len(grams(text) | grams(source)) >= 23 / 25
        elif kind == STUB:
            assert len(text.split()) == 4
        if kind != EXACT and kind != STUB:
            assert seen.setdefault(text, row) == row  # nobody else's by chance
    assert sum(truth(ROWS).values()) == ROWS
    assert truth(ROWS)["near"] == int((kinds == NEAR).sum())


def test_a_larger_corpus_begins_with_the_smaller_one(words: Path, tmp_path: Path) -> None:
    write(tmp_path / "small", 500, words)
    write(tmp_path / "large", 1500, words, group_rows=64)
    small, large = (pq.read_table(tmp_path / name) for name in ("small", "large"))
    assert small.to_pydict() == large.slice(0, 500).to_pydict()
    assert pq.ParquetFile(tmp_path / "large/part-00000.parquet").num_row_groups == 24


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """The same documents in so many shards."""
    base = tmp_path_factory.mktemp("scale")
    found = {}
    for shards in (2, 4, 8):
        write(base / f"corpus-{shards}", ROWS, group_rows=-(-ROWS // shards))
        work = base / f"work-{shards}"
        found[shards] = scale_run.one_run(base / f"corpus-{shards}", work, RunOptions(workers=2), ROWS, 1)
        found[shards] |= {"cost": {"cpu_s": 1.0, "wall_s": 1.0}, "export": scale.tree_hash(work / "out")}
    return found


def test_shards_cost_the_same_each_and_change_no_byte(runs: dict[int, dict[str, Any]]) -> None:
    assert [run["shards"] for run in runs.values()] == [2, 4, 8]
    assert len({run["export"] for run in runs.values()}) == 1
    few, many = scale.per_shard(runs[2], runs[4]), scale.per_shard(runs[4], runs[8])
    assert many["tasks"] == pytest.approx(few["tasks"], rel=0.1)
    assert many["files"] <= 1.1 * few["files"]
    assert many["fetched_bytes"] <= min(10_000, 1.1 * few["fetched_bytes"])
    assert many["context_bytes"] <= min(4_000, 1.2 * few["context_bytes"])


def test_a_shuffle_sends_each_document_the_same(runs: dict[int, dict[str, Any]]) -> None:
    for name, shuffled in runs[2]["shuffles"].items():
        assert (
            shuffled["messages"] <= runs[8]["shuffles"][name]["messages"] <= 1.2 * shuffled["messages"] + 16
        )


def test_a_wrong_result_is_no_figure(runs: dict[int, dict[str, Any]], tmp_path: Path) -> None:
    nodes = [
        {"name": name, "dropped": {"why": runs[2]["checked"][name]}} for name in ("rules", "exact", "fuzzy")
    ]
    nodes[1]["dropped"] = {"why": 1}
    pq.write_table(pa.table({"id": [0], "order.order": [1]}), tmp_path / "a.parquet")
    with pytest.raises(SystemExit, match=r"the result is wrong: planted .*'exact': "):
        scale_run.check({"nodes": nodes}, tmp_path, ROWS)


def test_constants_are_what_the_runs_show(runs: dict[int, dict[str, Any]]) -> None:
    shards = {"runs": [runs[2], runs[8]], "a_shard": scale.per_shard(runs[2], runs[8])}
    found = scale_constants.constants({"start": runs[2], "runs": [runs[4]]}, shards, shards)
    assert found["documents"] == ROWS
    assert found["text_passes"] >= 3
    shared = found["shuffles"]["fuzzy/shared"]
    kept = ROWS - sum(runs[4]["checked"][name] for name in ("rules", "exact"))
    assert shared["messages_a_document"] == pytest.approx(17 * kept / ROWS, rel=0.15)
    assert shared["message_bytes_a_document"] > 9 * shared["messages_a_document"]


def test_a_calculation_follows_its_constants() -> None:
    measured = json.loads(scale_constants.CONSTANTS.read_text())
    on = simulate.Cluster(100, 32, 128e9, 3e9, 125e9, 50_000, 0.02, "object")
    one, two = (simulate.stages(measured, n * 1e9, on) for n in (1, 2))
    assert two["books"].cpu_s == pytest.approx(2 * one["books"].cpu_s)
    shuffled = "shuffle fuzzy/shared"  # its files meet all others: more than twice for twice the documents
    assert two[shuffled].network > 2 * one[shuffled].network
    half = simulate.Cluster(50, 32, 128e9, 3e9, 125e9, 50_000, 0.02, "object")
    assert one["scans"].seconds(half)["CPU"] == pytest.approx(2 * one["scans"].seconds(on)["CPU"])
    assert "the bottleneck is " in simulate.report(measured, 1e10, on)
    assert simulate.driver(measured, 2e9, on)["tasks"] == pytest.approx(
        2 * simulate.driver(measured, 1e9, on)["tasks"], rel=1e-3
    )
