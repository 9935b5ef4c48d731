"""Lists taken by place against Arrow's own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.taking import take, take_lists

LISTS = st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=4), min_size=1, max_size=6)


@given(LISTS, st.lists(st.integers(0, 5), max_size=9))
def test_against_arrow(lists: list[list[int]], wanted: list[int]) -> None:
    place = np.array([i % len(lists) for i in wanted], np.int64)
    array = pa.array(lists, pa.large_list(pa.uint64()))
    taken = take_lists(np.asarray(array.offsets), np.asarray(array.values), place)
    assert taken.equals(array.take(pa.array(place)))


@given(LISTS, st.lists(st.integers(0, 5), max_size=9), st.integers(0, 5))
def test_any_column(lists: list[list[int]], wanted: list[int], skip: int) -> None:
    array = pa.array([*lists, None, []], pa.large_list(pa.uint64())).slice(skip % len(lists))
    for column in (array, array.drop_null(), array.value_lengths()):
        place = np.array([i % len(column) for i in wanted], np.int64)
        assert take(column, place).equals(column.take(pa.array(place)))
