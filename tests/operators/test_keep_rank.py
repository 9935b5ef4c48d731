"""The rank column."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import run

from operators.keep_rank import KeepRank


def test_longest_ranks_first() -> None:
    rank = run(KeepRank(), pa.table({"text": ["a", "abc", None]}))["rank"].to_pylist()
    assert rank[1] < rank[0] < rank[2]


def test_a_number_of_any_type() -> None:
    table = pa.table({"stars": pa.array([3, None, 5], pa.int16())})
    rank = run(KeepRank(keep="stars:max"), table)["rank"].to_pylist()
    assert rank[2] < rank[0] < rank[1]


def test_tiers_come_before_ranks() -> None:
    table = pa.table({"text": ["a", "abc"], "domain": ["wiki", "web"]})
    out = run(KeepRank(prefer={"domain": ["wiki"]}), table)
    assert out["tier"].to_pylist() == [0, 1]
    assert out["rank"][1].as_py() < out["rank"][0].as_py()
