"""Samples of an evaluation set: unbiased, and as far off as the formula says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from class_clouds import table_batches
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from gpu_ops.eval_subset import EvalSubset, allocated, standard_error


def evaluation(rows: int = 200) -> tuple[pa.Table, np.ndarray]:
    """Three domains of different spread, and a metric that goes with the proxy."""
    luck = np.random.default_rng(3)
    domain = np.repeat(["a", "b", "c"], [rows // 2, rows * 3 // 10, rows // 5])
    spread = np.repeat([0.2, 1.0, 4.0], [rows // 2, rows * 3 // 10, rows // 5])
    metric = spread * luck.normal(size=rows) + spread
    return pa.table({"domain": domain, "proxy": metric}), metric


def means(op: dict[str, Any], times: int) -> np.ndarray:
    """Weighted means of the metric over so many samples."""
    table, metric = evaluation()
    out = []
    for seed in range(times):
        weight = run(EvalSubset(seed=seed, **op), table)["weight"].to_numpy()
        out.append(np.nansum(weight * metric) / len(metric))
    return np.array(out)


@pytest.mark.parametrize(
    "op",
    [
        {"keep_rows": 40, "strata": "domain", "proxy": "proxy"},
        {"keep_rows": 40, "strata": "domain", "proxy": "proxy", "allocation": "neyman"},
        {"keep_rows": 40, "proxy": "proxy", "bins": 8},
        {"keep_share": 0.2, "proxy": "proxy"},
    ],
)
def test_means_are_unbiased_with_the_error_of_the_formula(op: dict[str, Any]) -> None:
    times = 400
    found = means(op, times)
    table, metric = evaluation()
    made = EvalSubset(seed=0, **op)
    state = made.fit(iter(table_batches(table)), "cpu", {})
    error = standard_error(state["sizes"], state["drawn"], state["deviation"])
    assert abs(found.mean() - metric.mean()) < 4 * error / np.sqrt(times)
    assert 0.85 < found.std(ddof=1) / error < 1.15  # 4 standard errors of a deviation over 400 samples
    assert f"standard error {error:.3g}" in made.tell(state)


def test_neyman_is_better_than_proportional_is_better_than_random() -> None:
    table, _ = evaluation()
    batches = table_batches(table)
    some = {"keep_rows": 40, "proxy": "proxy"}
    errors = []
    for more in ({}, {"strata": "domain"}, {"strata": "domain", "allocation": "neyman"}):
        state = EvalSubset(seed=0, **some, **more).fit(iter(batches), "cpu", {})
        errors.append(standard_error(state["sizes"], state["drawn"], state["deviation"]))
    assert errors[2] < errors[1] < errors[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), min_size=1, max_size=6), st.data())
def test_allocations_add_up(pairs: list[tuple[int, int]], data: Any) -> None:
    sizes, deviation = (np.array(one) for one in zip(*pairs, strict=True))
    k = data.draw(st.integers(len(sizes), int(sizes.sum())))
    drawn = allocated(k, sizes, deviation.astype(float))
    assert drawn.sum() == k
    assert (drawn >= 1).all()
    assert (drawn <= sizes).all()


def test_neyman_allocation_is_the_best_of_all() -> None:
    """Brute force over all allocations of 12 rows."""
    sizes, deviation = np.array([10, 8, 6]), np.array([1.0, 3.0, 2.0])
    best = min(
        standard_error(sizes, np.array([a, b, 12 - a - b]), deviation)
        for a in range(1, 11)
        for b in range(1, 9)
        if 1 <= 12 - a - b <= 6
    )
    ours = standard_error(sizes, allocated(12, sizes, deviation), deviation)
    assert ours <= best * 1.02


def test_bins_are_of_equally_many_rows() -> None:
    table = pa.table({"proxy": np.random.default_rng(1).permutation(np.arange(30.0))})
    found = run(EvalSubset(keep_rows=10, proxy="proxy", bins=10, seed=1), table)
    kept = np.sort(table["proxy"].to_numpy()[found["drop"].combine_chunks().is_null()])
    assert (kept // 3).tolist() == list(range(10))
    assert found["weight"].drop_null().to_pylist() == [3.0] * 10


def test_what_is_told_of_nothing() -> None:
    op = EvalSubset(keep_rows=3, proxy="proxy")
    empty = pa.table({"proxy": pa.array([], pa.float64())})
    assert op.tell(op.fit(iter(table_batches(empty)), "cpu", {})) == "nothing was drawn"
    one = pa.table({"proxy": [1.0, None]})
    assert op.tell(op.fit(iter(table_batches(one)), "cpu", {})).endswith("design effect not defined")
    assert run(op, one)["drop"].to_pylist() == [None, "not_comparable"]


def test_small_strata_become_one_where_there_are_too_many() -> None:
    table, _ = evaluation()
    op = EvalSubset(keep_rows=2, strata="domain", proxy="proxy")
    assert run(op, table)["weight"].drop_null().to_pylist() == [100.0, 100.0]
    told = op.tell(op.fit(iter(table_batches(table)), "cpu", {}))
    assert "2 small strata were taken as one" in told


@pytest.mark.parametrize(("tiny", "rows"), [(150, 20), (15, 20)])
def test_small_strata_take_no_rows_that_large_ones_need(tiny: int, rows: int) -> None:
    """A row for each of many tiny strata left one for all the rest: 18 times the variance of no strata."""
    luck = np.random.default_rng(7)
    small = np.repeat(np.arange(tiny), 2).astype(str)
    domain = np.concatenate([small, np.repeat("most", 2000)])
    table = pa.table({"domain": domain, "proxy": luck.normal(size=len(domain))})
    op = EvalSubset(keep_rows=rows, strata="domain", proxy="proxy")
    weight = run(op, table)["weight"].drop_null().to_numpy()
    assert len(weight) == rows
    assert weight.sum() == pytest.approx(len(table))
    assert weight.max() < 3 * len(table) / rows
    told = op.tell(op.fit(iter(table_batches(table)), "cpu", {}))
    assert f"{tiny} small strata were taken as one" in told
    assert float(told.rpartition("design effect ")[2]) < 1.2


def test_few_small_strata_keep_a_row_each() -> None:
    table = pa.table({"domain": np.repeat(["a", "b", "most"], [1, 2, 2000])})
    op = EvalSubset(keep_rows=20, strata="domain")
    assert sorted(run(op, table)["weight"].drop_null().to_pylist())[:2] == [1.0, 2.0]


def test_a_missing_proxy_is_refused() -> None:
    with pytest.raises(ValueError, match="need a proxy"):
        EvalSubset(keep_rows=2, allocation="neyman")
