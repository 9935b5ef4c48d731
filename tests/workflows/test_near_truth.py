"""The figures that near_truth prints, on small corpora whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflows.bench.near_truth import Verdict, against_truth, greedy, measure
from workflows.bench.truth import Pairs

SAMPLE = sorted((Path(__file__).parents[2] / "configs" / "quickstart" / "sample").glob("*.parquet"))
# 1 is near 0, 2 near 1, 3 near 0 and 2: in order 0 and 2 stay.
PAIRS = Pairs(np.array([0, 1, 0, 2]), np.array([1, 2, 3, 3]), np.array([0.9, 0.8, 0.85, 0.95]), 0.8)


def figures(stays: list[bool], gone: list[int], kept: list[int], near: list[float]) -> dict[str, float]:
    verdict = Verdict(np.array(stays), np.array(gone), np.array(kept), np.array(near))
    return against_truth(PAIRS, ["a", "b", "c", "d"], verdict, 0.8)


def test_the_greedy_solution() -> None:
    assert greedy(4, PAIRS).tolist() == [True, False, True, False]


def test_a_right_verdict() -> None:
    found = figures([True, False, True, False], [1, 3], [0, 2], [0.9, 0.95])
    assert list(found.values()) == [2, 0, 0, 4, 0, 2, 0]


def test_wrong_verdicts() -> None:
    """2 goes for 1, which goes itself; 3 goes for 0 with a similarity that is made up; 1 and 2 both stay."""
    found = figures([True, False, False, False], [1, 2, 3], [0, 1, 0], [0.9, 0.8, 0.86])
    assert list(found.values()) == [3, 1, 2, 4, 0, 2, pytest.approx(50)]
    both = figures([True, True, True, False], [3], [2], [0.95])
    assert both["of these with both kept, %"] == 50


def test_the_sample_of_the_quickstart(tmp_path: Path) -> None:
    tables = [pq.ParquetFile(path).read(columns=["id", "text"]) for path in SAMPLE]
    pq.write_table(pa.concat_tables(tables), tmp_path / "sample.parquet")
    found = measure(tmp_path / "sample.parquet", None, {}, tmp_path / "out")
    assert found["removed"] > 100
    assert found["removed without a kept partner"] == found["recorded partners that are wrong"] == 0
    assert found["of these with both kept, %"] <= 0.5
    assert abs(found["removals against that, %"]) <= 2  # 7 documents of 443
