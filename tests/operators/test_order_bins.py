"""Bytes and rows by the top 16 bits of the order, against a plain loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.order_bins import BINS, OrderBins

ORDERS = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 10**12)), max_size=40)


def _batch(rows: list[tuple[int, int]]) -> pa.RecordBatch:
    order = pa.array([order for order, _ in rows], pa.uint64())
    return pa.record_batch({"order": order, "bytes": pa.array([size for _, size in rows], pa.int64())})


@given(ORDERS, st.integers(0, 40))
def test_any_cut_counts_like_a_loop(rows: list[tuple[int, int]], cut: int) -> None:
    operator = OrderBins(order="order")
    parts = [operator.fold(_batch(some), {}) for some in (rows[:cut], rows[cut:])]
    found = operator.finish(operator.merge(*parts), {})
    size: Counter[int] = Counter()
    for order, bytes_ in rows:
        size[order >> 48] += bytes_
    count = Counter(order >> 48 for order, _ in rows)
    assert {i: int(found["bytes"][i]) for i in np.flatnonzero(found["rows"])} == {i: size[i] for i in count}
    assert {i: int(found["rows"][i]) for i in np.flatnonzero(found["rows"])} == dict(count)


def test_nothing_is_neutral() -> None:
    operator = OrderBins(order="order")
    some = operator.fold(_batch([(2**63, 5), (1, 7)]), {})
    both = operator.merge(some, operator.fold(_batch([]), {}))
    assert len(both["bytes"]) == BINS
    assert all(np.array_equal(both[name], some[name]) for name in some)
