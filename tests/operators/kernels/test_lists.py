"""Lists and fixed-size binaries against Arrow's own conversions."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.lists import cells, filled, fixed, flat, listed

LISTS = st.lists(st.one_of(st.none(), st.lists(st.integers(-9, 9), max_size=3)), max_size=8)


@given(LISTS, st.integers(0, 8))
def test_flat_and_listed(lists: list[list[int] | None], skip: int) -> None:
    array = pa.array(lists, pa.list_(pa.int64())).slice(min(skip, len(lists)))
    plain = [one or [] for one in array.to_pylist()]
    lengths, values = flat(array)
    assert (lengths.tolist(), values.tolist()) == (
        [len(one) for one in plain],
        list(chain.from_iterable(plain)),
    )
    assert listed(lengths, values, pa.int64()).to_pylist() == plain


def test_cells_of_a_slice() -> None:
    rows = np.arange(12, dtype=np.uint64).reshape(4, 3)
    array = fixed(rows)
    assert array.type == pa.binary(24)
    assert (cells(array.slice(1, 2), np.uint64) == rows[1:3]).all()
    assert cells(array.slice(0, 0), np.uint64).shape == (0, 3)


def test_filled() -> None:
    assert filled(pa.array([1, None], pa.int8()), -1).tolist() == [1, -1]
