"""Vectors of columns are numpy's stacks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run

from operators.vector import Vector

numbers = st.lists(st.tuples(st.none() | st.floats(), st.integers(-9, 9)), max_size=20)


@given(numbers)
def test_vectors_are_stacks(rows: list[tuple[float | None, int]]) -> None:
    table = pa.table(
        {"a": pa.array([a for a, _ in rows], pa.float64()), "b": pa.array([b for _, b in rows], pa.int64())}
    )
    found = run(Vector(columns_of=("b", "a"), divide_by={"b": 2}), table)["embedding"].to_pylist()
    known = [a is not None and bool(np.isfinite(a)) for a, _ in rows]
    assert found == [[b / 2, a] if have else None for (a, b), have in zip(rows, known, strict=True)]


def test_a_sliced_batch() -> None:
    table = pa.table({"a": [1.0, None, 3.0, 4.0]})
    assert run(Vector(columns_of=("a",)), table, batch_rows=3)["embedding"].to_pylist() == [
        [1.0],
        None,
        [3.0],
        [4.0],
    ]
