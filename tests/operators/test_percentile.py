"""Exact ranks and percentiles are scipy's, for any cut; approximate ones stay within their bin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from scipy.stats import percentileofscore, rankdata

from operators.equal_values import EqualValues
from operators.kernels.ordering import float32_order
from operators.percentile import Percentile
from operators.percentile_of import PercentileOf
from operators.value_rank import ValueRank

VALUES = st.none() | st.floats() | st.sampled_from([1.0, 1.001, 1.002, 2.0, -0.0, 0.0, math.inf, -3.0])


def found(values: list[Any], exact: bool, **how: Any) -> tuple[np.ndarray, np.ndarray]:
    """(percentile, rank), NaN for nulls."""
    got = run(Percentile(column="x", exact=exact), pa.table({"x": pa.array(values, pa.float64())}), **how)
    assert got.column("rank").is_null().equals(got.column("percentile").is_null())
    return tuple(np.array(got.column(name).to_pylist(), float) for name in ("percentile", "rank"))


@settings(deadline=None, max_examples=60)
@given(st.lists(VALUES, max_size=40), st.integers(1, 9), st.sets(st.integers(0, 40)))
def test_exact_is_scipy_and_a_stable_sort(values: list[Any], size: int, bounds: set[int]) -> None:
    share, rank = found(values, True, cut=sorted(b for b in bounds if b <= len(values)))
    again = found(values, True, batch_rows=size)
    assert np.array_equal(share, again[0], equal_nan=True)
    assert np.array_equal(rank, again[1], equal_nan=True)
    x = np.array(values, float)
    known = ~np.isnan(x)
    assert (np.isnan(rank) == ~known).all()
    wanted = (rankdata(x[known], "average") - 0.5) / max(known.sum(), 1)
    assert share[known].tolist() == wanted.astype(np.float32).tolist()
    assert rank[known].tolist() == (rankdata(x[known], "ordinal") - 1).tolist()


def test_percentile_of_a_score() -> None:
    x = np.random.default_rng(1).integers(0, 30, 200).astype(float)
    share, _ = found(x.tolist(), True)
    assert share == pytest.approx([percentileofscore(x, v, "mean") / 100 for v in x], abs=1e-7)


@settings(deadline=None, max_examples=60)
@given(st.lists(VALUES, max_size=40))
def test_approximate_ones_err_within_their_bin_and_ascend(values: list[Any]) -> None:
    (share, rank), (truth, _) = found(values, False), found(values, True)
    x = np.array(values, float)
    known = ~np.isnan(x)
    bins = float32_order(x[known]) >> 16
    size = (bins[:, None] == bins[None, :]).sum(axis=1) / max(known.sum(), 1)
    assert (np.abs(share - truth)[known] <= size + 1e-6).all()
    order = np.argsort(x[known], kind="stable")
    assert (np.diff(share[known][order]) >= 0).all()
    assert (np.diff(rank[known][order]) >= 0).all()
    assert ((rank[known] >= 0) & (rank[known] < max(known.sum(), 1))).all()


def test_one_value_for_all_and_a_single_row() -> None:
    for exact in (False, True):
        share, rank = found([7.0] * 9, exact)
        assert share.tolist() == [0.5] * 9
        assert rank.tolist() == (list(range(9)) if exact else [4] * 9)
        assert [x.tolist() for x in found([3.0], exact)] == [[0.5], [0.0]]
        assert [len(x) for x in found([], exact)] == [0, 0]
        assert np.isnan(found([None, math.nan], exact)).all()


def test_a_real_column_is_near_its_truth() -> None:
    x = np.random.default_rng(0).lognormal(7, 1.5, 20_000)
    (share, rank), (truth, sorted_rank) = found(x.tolist(), False), found(x.tolist(), True)
    assert np.abs(share - truth).max() < 6e-4
    assert np.abs(rank - sorted_rank).max() < 12


def test_the_parts_by_themselves() -> None:
    equal = run(EqualValues(column="x"), pa.table({"x": [2.0, -0.0, 0.0, None, 2.0, math.nan, 2.0]}))
    assert equal.column("rows").to_pylist() == [3, 2, 2, None, 3, None, 3]
    messages = [([5, 5], [1, 1]), ([], []), ([5], [1]), ([5, 3], [2, 2]), ([3, 9], [2, 2])]
    batches = (
        pa.RecordBatch.from_pydict({"key": pa.array(key, pa.uint64()), "value": pa.array(value, pa.uint64())})
        for key, value in messages
    )
    got = list(ValueRank(column="x").reply(batches))
    assert [reply["rank"].to_pylist() for reply in got] == [[5, 6], [], [7], [8, 3], [4, 9]]
    assert [reply["below"].to_pylist() for reply in got] == [[5, 5], [], [5], [8, 3], [3, 9]]
    assert list(PercentileOf(column="x", exact=True).reads) == ["/rank.rank", "/rank.below", "/equal.rows"]
