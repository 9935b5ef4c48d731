"""`sort` is exact and spread out; draws never precede availability; missing difficulties come last."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.contract import Artifact
from operators.kernels.pacing import available_at
from operators.pacing_order import PacingOrder
from operators.quantiles import Quantiles, percentiles

VALUES = st.lists(st.none() | st.floats(), min_size=1, max_size=25)
LAST = 2**64 - 1


def counted(values: list[float | None]) -> Artifact:
    batch = pa.RecordBatch.from_pydict({"x": pa.array(values, pa.float64())})
    return Quantiles(column="x").fold(batch, {})


def orders(op: PacingOrder, values: list[float | None], size: int = 1000) -> list[int]:
    table = pa.table({"x": pa.array(values, pa.float64())})
    return run(op, table, batch_rows=size, uses={"quantiles": counted(values)}).column("order").to_pylist()


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_sort_is_the_order_of_the_values(values: list[float | None], descending: bool) -> None:
    got = orders(PacingOrder(column="x", pacing="sort", descending=descending), values)
    known = [i for i, v in enumerate(values) if v is not None and v == v]
    x = np.array([values[i] or 0.0 for i in known]) * (-1 if descending else 1)
    keys = np.array([got[i] for i in known], np.uint64)
    np.testing.assert_array_equal(keys[:, None] < keys[None, :], x[:, None] < x[None, :])
    assert [i for i, key in enumerate(got) if key == LAST] == [
        i for i in range(len(values)) if i not in known
    ]


def test_sort_spreads_over_the_64_bits() -> None:
    got = orders(PacingOrder(column="x", pacing="sort"), [1000.0, 1500.0, 3999.0])
    assert got[0] == 0
    assert got[2] >= 2**63


@pytest.mark.parametrize("pacing", ["linear", "root"])
@settings(deadline=None, max_examples=30)
@given(values=VALUES, size=st.integers(1, 9), start=st.sampled_from([0.01, 0.5, 1.0]))
def test_never_before_available_for_any_batch(
    pacing: str, values: list[float | None], size: int, start: float
) -> None:
    op = PacingOrder(column="x", pacing=pacing, start=start, seed=3)  # type: ignore[arg-type]
    got = orders(op, values)
    assert orders(op, values, size) == got
    x = np.array([np.nan if v is None else v for v in values])
    # The least percentile that a tie allows: its texts are available from then on at the earliest.
    least = percentiles(counted(values), x, np.zeros(len(x)))
    early = available_at(np.nan_to_num(least, nan=1.0), start, 2.0 if pacing == "root" else 1.0)
    assert all(key >= int(t * 2**64) - 2**12 for key, t in zip(got, early.tolist(), strict=True))
    assert all(key == LAST for key, value in zip(got, x.tolist(), strict=True) if value != value)
