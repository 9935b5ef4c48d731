"""The keep rank against Python's own sorting."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.keep_order import first_of_each, keep_rank

FLOATS = st.lists(st.one_of(st.none(), st.floats()), min_size=1)


@given(FLOATS, st.sampled_from(["max", "min"]))
def test_floats(values: list[float | None], way: str) -> None:
    batch = pa.RecordBatch.from_pydict({"score": pa.array(values, pa.float64())})
    rank = keep_rank(f"score:{way}", "text", batch)
    sign = -1 if way == "max" else 1

    def wanted(i: int) -> tuple[bool, float, int]:
        value = values[i]
        missing = value is None or math.isnan(value)
        return missing, 0.0 if missing or value is None else sign * value, i

    order = sorted(range(len(values)), key=wanted)
    assert np.argsort(rank, kind="stable").tolist() == order


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64(), pa.float32()])
def test_other_numbers(kind: pa.DataType) -> None:
    batch = pa.RecordBatch.from_pydict({"n": pa.array([5, None, 100, 0], kind)})
    assert np.argsort(keep_rank("n:max", "text", batch), kind="stable").tolist() == [2, 0, 3, 1]
    assert np.argsort(keep_rank("n:min", "text", batch), kind="stable").tolist() == [3, 0, 2, 1]


def test_longest_and_first() -> None:
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["ab", None, "abc", "é€"], pa.large_string())})
    assert np.argsort(keep_rank("longest", "text", batch), kind="stable").tolist() == [3, 2, 0, 1]
    assert keep_rank("first", "text", batch).tolist() == [0] * 4


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1))
def test_first_of_each(rows: list[tuple[int, int, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    key, rank, uid = (np.array(column) for column in zip(*rows, strict=True))
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    best, first = first_of_each(rank.astype(np.uint64), uid, starts)
    want = [min((r, u) for k, r, u in rows if k == one) for one in sorted(set(key.tolist()))]
    assert list(zip(best.tolist(), first.tolist(), strict=True)) == want
