"""Bands are those of sorting the whole corpus, for any cut of it, by group, with ties and nulls."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.band_choice import BandChoice
from operators.percentile_band import PercentileBand

SCORES = st.none() | st.floats(width=32) | st.sampled_from([1.5, 2.5, -0.0, 0.0, math.inf, math.nan])
ROWS = st.lists(st.tuples(SCORES, st.sampled_from(["en", "de", None])), max_size=40)


def reasons(scores: list[Any], groups: list[Any] | None = None, **fields: Any) -> list[str | None]:
    how = {name: fields.pop(name) for name in ("batch_rows", "cut") if name in fields}
    data = {"s": pa.array(scores, pa.float32())}
    if groups is not None:
        data["g"], fields["by"] = pa.array(groups, pa.string()), "g"
    return run(PercentileBand(score="s", **fields), pa.table(data), **how).column("drop").to_pylist()


def by_sorting(scores: list[Any], low: int, high: int) -> list[str | None]:
    """The definition, in Python's own sorting."""
    known = [i for i, s in enumerate(scores) if s is not None and not math.isnan(s)]
    known.sort(key=lambda i: (scores[i], i))
    out: list[str | None] = ["no_score"] * len(scores)
    for rank, i in enumerate(known):
        below, within = rank < len(known) * low // 100, rank < len(known) * high // 100
        out[i] = "too_low" if below else None if within else "too_high"
    return out


@settings(max_examples=30, deadline=None)
@given(ROWS, st.sets(st.integers(0, 40)))
def test_equals_a_sort(rows: list[Any], bounds: set[int]) -> None:
    scores = [s for s, _ in rows]
    cut = sorted(b for b in bounds if b <= len(rows))
    assert reasons(scores, low=20, high=75, cut=cut) == by_sorting(scores, 20, 75)


@settings(max_examples=20, deadline=None)
@given(ROWS, st.integers(1, 9))
def test_each_group_has_its_percentiles(rows: list[Any], size: int) -> None:
    scores, groups = [s for s, _ in rows], [group for _, group in rows]
    got = reasons(scores, groups, low=30, high=60, batch_rows=size)
    for group in ("en", "de", None):
        mine = [i for i, other in enumerate(groups) if other == group]
        assert [got[i] for i in mine] == by_sorting([scores[i] for i in mine], 30, 60)


def test_percentiles_of_numpy() -> None:
    scores = np.random.default_rng(3).permutation(1000).astype(np.float32)
    low, high = np.percentile(scores, [12.5, 90], method="higher")
    kept = np.array([reason is None for reason in reasons(scores.tolist(), low=12.5, high=90)])
    np.testing.assert_array_equal(kept, (scores >= low) & (scores < high))


def test_one_end_alone_and_rows_without_a_score() -> None:
    scores = [5.0, 1.0, None, 3.0, math.nan, math.inf]
    assert reasons(scores, high=75) == [None, None, "no_score", None, "no_score", "too_high"]
    assert reasons(scores, low=50, missing="keep") == [None, "too_low", None, "too_low", None, None]
    assert reasons(scores, missing="keep") == [None] * 6
    assert reasons([]) == []


def test_the_face_by_itself() -> None:
    columns = {
        "/low.within": pa.array([True, False, False, None]),
        "/high.within": pa.array([True, True, False, None]),
    }
    got = BandChoice().columns(pa.RecordBatch.from_pydict(columns), {})["drop"]
    assert got.to_pylist() == ["too_low", None, "too_high", "no_score"]


def test_a_band_has_a_width() -> None:
    with pytest.raises(ValueError, match="low = 60 is not below high = 60"):
        PercentileBand(score="s", low=60, high=60)
