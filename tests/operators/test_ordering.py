"""Order-preserving integers sort as the numbers do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.ordering import (
    float32_order,
    float64_order,
    order_float32,
    order_float64,
    unit_order,
)

FLOATS = st.lists(st.floats(allow_nan=False), min_size=1, max_size=50)


@given(FLOATS)
def test_float64_order_is_the_order_of_the_numbers(values: list[float]) -> None:
    x = np.array(values)
    keys = float64_order(x)
    np.testing.assert_array_equal(keys[:, None] < keys[None, :], x[:, None] < x[None, :])


@given(FLOATS)
def test_float32_order_never_turns_a_pair_around(values: list[float]) -> None:
    x = np.sort(np.array(values))
    keys = float32_order(x)
    assert (np.diff(keys.astype(np.int64)) >= 0).all()
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32)
    np.testing.assert_array_equal(np.diff(keys.astype(np.int64)) > 0, rounded[1:] > rounded[:-1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_unit_order_is_fixed_point(values: list[float]) -> None:
    x = np.sort(np.array(values))
    keys = unit_order(x)
    assert [int(k) for k in keys] == [min(int(v * 2**64), 2**64 - 1) for v in x.tolist()]
    assert (keys[1:] >= keys[:-1]).all()


def test_ends() -> None:
    assert unit_order(np.array([0.0, 1.0])).tolist() == [0, 2**64 - 1]
    assert float64_order(np.array([-0.0]))[0] == float64_order(np.array([0.0]))[0]


@given(FLOATS)
def test_numbers_come_back_from_their_order(values: list[float]) -> None:
    x = np.array(values)
    np.testing.assert_array_equal(order_float64(float64_order(x)), x)


@given(FLOATS)
def test_float32_numbers_come_back_from_their_order(values: list[float]) -> None:
    with np.errstate(over="ignore"):
        x = np.array(values).astype(np.float32)
    np.testing.assert_array_equal(order_float32(float32_order(x)), x)
