"""Verdicts are counted right, and tamis' program gives those of quality_rules with what they cost."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from operators.quality_rules import QualityRules
from workflows.bench import filters

SAMPLE = Path(__file__).parents[2] / "configs" / "quickstart" / "sample" / "part-0.parquet"


def test_who_drops_what() -> None:
    ours = [None, "a", "a", None, "b", None]
    theirs = [None, "x", None, "y", None, "y"]
    assert filters.confusion(ours, theirs) == {
        "both_keep": 1,
        "both_drop": 1,
        "only_tamis": [("a", 1), ("b", 1)],
        "only_datatrove": [("y", 2)],
    }


def test_rows_are_evenly_spaced(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [str(i) for i in range(9)]}), tmp_path / "in.parquet")
    corpus, megabytes = filters.some_rows(tmp_path / "in.parquet", 3, tmp_path / "out.parquet")
    assert pq.read_table(corpus).column("text").to_pylist() == ["0", "4", "8"]
    assert megabytes == 3e-6
    every, _ = filters.some_rows(tmp_path / "in.parquet", 100, tmp_path / "all.parquet")
    assert pq.read_table(every).num_rows == 9


def test_tamis_as_the_benchmark_runs_it(tmp_path: Path) -> None:
    corpus, megabytes = filters.some_rows(SAMPLE, 40, tmp_path / "corpus.parquet")
    verdicts, cpu_s = filters.run("tamis", "own", corpus, tmp_path, sys.executable)
    texts = pq.read_table(corpus).column("text").combine_chunks()
    batch = pa.RecordBatch.from_pydict({"text": texts.cast(pa.large_string())})
    assert set(verdicts) == set(cpu_s) == {*filters.GROUPS, "all"}
    assert all(seconds > 0 for seconds in cpu_s.values())
    for group in filters.GROUPS:
        drop = QualityRules(rules=(group,)).columns(batch, {})["drop"]
        assert verdicts[group] == drop.to_pylist()
    same = {group: filters.confusion(verdicts[group], verdicts[group]) for group in filters.GROUPS}
    assert filters.agreements(same).count("100.0 %") == len(filters.GROUPS)
    assert "1" in filters.speeds({"tamis-own": cpu_s, "datatrove-own": cpu_s}, megabytes).splitlines()[2]
