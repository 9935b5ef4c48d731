"""Radix sorting equals a stable sort by numpy, whatever the keys look like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from operators.kernels.counter import mix64
from operators.kernels.radix import grouped, mixed, reference, sort_order, sortable

SOME = [0, 1, 2, 255, 256, 2**31, 2**40, 2**40 + 1, 2**63, 2**64 - 1]
KEYS = st.one_of(st.sampled_from(SOME), st.integers(0, 2**64 - 1))


@given(arrays.arrays(np.uint64, st.integers(0, 300), elements=KEYS))
def test_keys_are_sorted_stably(keys: np.ndarray) -> None:
    np.testing.assert_array_equal(sort_order([keys]), np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("shift", [0, 8, 39, 40, 63])
@pytest.mark.parametrize("values", [1, 2, 1000])
def test_keys_that_agree_in_most_bits(shift: int, values: int) -> None:
    random = np.random.default_rng(shift)
    keys = random.integers(0, values, 5000, dtype=np.uint64) << np.uint64(shift)
    before = keys.copy()
    np.testing.assert_array_equal(sort_order([keys]), np.argsort(keys, kind="stable"))
    np.testing.assert_array_equal(keys, before)


ROWS = st.lists(
    st.tuples(st.sampled_from([0, 7, 2**63]), st.integers(-3, 3), st.floats(-2, 2) | st.just(-0.0)),
    max_size=60,
)


@given(ROWS)
def test_several_columns_are_sorted_as_by_lexsort(rows: list[tuple[int, int, float]]) -> None:
    columns = [
        np.array([row[0] for row in rows], np.uint64),
        np.array([row[1] for row in rows], np.int8),
        np.array([row[2] for row in rows], np.float64),
    ]
    np.testing.assert_array_equal(sort_order(columns), reference(columns))


def test_numbers_of_every_kind_keep_their_order() -> None:
    for ascending in (
        np.array([False, True]),
        np.array([-(2**63), -1, 0, 2**63 - 1], np.int64),
        np.array([0, 1, 2**32 - 1], np.uint32),
        np.array([-np.inf, -1.5, 0.0, 1e-300, np.inf, np.nan]),
        np.array([-1.0, 0.25, np.nan], np.float32),
    ):
        assert (np.diff(sortable(ascending).astype(object)) > 0).all(), ascending
    assert len(set(sortable(np.array([0.0, -0.0])).tolist())) == 1


@given(arrays.arrays(np.uint64, st.integers(0, 20), elements=KEYS))
def test_mixing_is_that_of_the_counter(keys: np.ndarray) -> None:
    np.testing.assert_array_equal(mixed(keys), mix64(keys))


@given(st.lists(st.integers(0, 5), max_size=60))
def test_rows_are_grouped_as_by_a_stable_sort(groups: list[int]) -> None:
    group = np.array(groups, np.int32)
    order, starts = grouped(group, 7)
    np.testing.assert_array_equal(order, np.argsort(group, kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(np.sort(group), np.arange(8)))


def test_a_spent_column_gives_the_same_order() -> None:
    keys = np.random.default_rng(1).integers(0, 2**64, 3000, dtype=np.uint64)
    np.testing.assert_array_equal(sort_order([keys.copy()], spend=True), sort_order([keys]))
