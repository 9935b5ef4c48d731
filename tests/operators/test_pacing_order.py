"""`sort` is exact and spread out; draws never precede availability; missing difficulties come last."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.contract import Artifact
from operators.kernels.drawing import available_at
from operators.kernels.pacing import Pacing
from operators.pacing_order import PacingOrder
from operators.quantiles import Quantiles, distribution, percentiles

VALUES = st.lists(st.none() | st.floats(), min_size=1, max_size=25)
LAST = 2**64 - 1
SORT = Pacing(kind="sort")


def counted(values: list[float | None]) -> Artifact:
    batch = pa.RecordBatch.from_pydict({"x": pa.array(values, pa.float64())})
    return Quantiles(column="x").fold(batch, {})


def orders(op: PacingOrder, values: list[float | None], size: int = 1000) -> list[int]:
    table = pa.table({"x": pa.array(values, pa.float64())})
    return run(op, table, batch_rows=size, uses={"quantiles": counted(values)}).column("order").to_pylist()


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_sort_is_the_order_of_the_values(values: list[float | None], descending: bool) -> None:
    got = orders(PacingOrder(column="x", pacing=SORT, descending=descending), values)
    known = [i for i, v in enumerate(values) if v is not None and v == v]
    x = np.array([values[i] or 0.0 for i in known]) * (-1 if descending else 1)
    keys = np.array([got[i] for i in known], np.uint64)
    np.testing.assert_array_equal(keys[:, None] < keys[None, :], x[:, None] < x[None, :])
    assert [i for i, key in enumerate(got) if key == LAST] == [
        i for i in range(len(values)) if i not in known
    ]


def test_sort_spreads_over_the_64_bits() -> None:
    got = orders(PacingOrder(column="x", pacing=SORT), [1000.0, 1500.0, 3999.0])
    assert got[0] == 0
    assert got[2] >= 2**63


@pytest.mark.parametrize("kind", ["linear", "competence", "baby_steps"])
@settings(deadline=None, max_examples=30)
@given(values=VALUES, size=st.integers(1, 9), start=st.sampled_from([0.01, 0.5, 1.0]))
def test_never_before_available_for_any_batch(
    kind: str, values: list[float | None], size: int, start: float
) -> None:
    pacing = Pacing.model_validate({"kind": kind, "start": start})
    op = PacingOrder(column="x", pacing=pacing, seed=3)
    got = orders(op, values)
    assert orders(op, values, size) == got
    x = np.array([np.nan if v is None else v for v in values])
    # The least percentile that a tie allows: its texts are available from then on at the earliest.
    least = percentiles(counted(values), x, np.zeros(len(x)))
    early = available_at(np.nan_to_num(least, nan=1.0), pacing.line())
    assert all(key >= int(t * 2**64) - 2**12 for key, t in zip(got, early.tolist(), strict=True))
    assert all(key == LAST for key, value in zip(got, x.tolist(), strict=True) if value != value)


@settings(deadline=None)
@given(VALUES, st.booleans(), st.sampled_from(["linear", "step", "exponential", "competence"]))
def test_by_value_nothing_comes_before_its_value_is_reached(
    values: list[float | None], descending: bool, kind: str
) -> None:
    pacing = Pacing.model_validate({"kind": kind, "over": 0.5})
    op = PacingOrder(column="x", pacing=pacing, by="value", descending=descending, seed=3)
    got = orders(op, values)
    assert orders(op, values, 2) == got
    with np.errstate(over="ignore"):
        x = np.array([np.nan if v is None else v for v in values]).astype(np.float32).astype(np.float64)
    x = -x if descending else x
    finite = x[np.isfinite(x)]
    for key, value in zip(got, x.tolist(), strict=True):
        if value != value:
            assert key == LAST
        elif np.isposinf(value) and len(finite) and finite.max() > finite.min():
            assert key >= 2**63
        elif np.isfinite(value) and finite.max() > finite.min():
            # A bin holds 1 % of a value, within which texts are taken as spread evenly.
            place = (value - finite.min()) / (finite.max() - finite.min())
            slack = 0.008 * abs(value) / (finite.max() - finite.min()) + 1e-6
            due = available_at(np.array([max(place - slack, 0.0)]), pacing.line())[0]
            alive = sum(v is not None and v == v for v in values)
            below = sum(bool(other < value - slack) for other in x) / alive
            assert key / 2**64 >= min(due, below) - 1e-9  # or as the easiest of what is left


@given(VALUES)
def test_the_distribution_goes_up_to_each_value(values: list[float | None]) -> None:
    found, shares = distribution(counted(values))
    assert (np.diff(found) >= 0).all()
    assert (np.diff(shares) >= 0).all()
    with np.errstate(over="ignore"):
        x = np.array([v for v in values if v is not None and v == v]).astype(np.float32)
    finite = x[np.isfinite(x)].astype(np.float64)
    if not len(finite):
        assert not len(found)
        return
    assert (found[0], found[-1]) == (finite.min(), finite.max())
    assert shares[0] == np.isneginf(x).mean()
    assert shares[-1] == pytest.approx(1 - np.isposinf(x).mean())
    low, high = finite.min() - 1, (x <= np.float32(found[-1])).mean()
    assert np.searchsorted(found, low) == 0
    assert shares[-1] == pytest.approx(high)


def test_by_value_is_the_range_of_the_values() -> None:
    """900 texts of difficulty 1, 100 spread up to 101: a tenth of the time opens a tenth of the range."""
    values = [1.0] * 900 + [float(k) for k in range(2, 102)]
    pacing = Pacing(kind="linear", start=0.001)
    got = np.array(orders(PacingOrder(column="x", pacing=pacing, by="value", seed=1), values)) / 2.0**64
    assert (got[900:] >= np.arange(1, 101) / 101 - 0.01).all()
    assert got[:900].min() < 0.01
    by_share = np.array(orders(PacingOrder(column="x", pacing=pacing, seed=1), values)) / 2.0**64
    assert by_share[900:].min() >= 0.89


@pytest.mark.parametrize("value", [7.0, None, float("inf"), float("nan")])
def test_one_difficulty_for_all_is_a_shuffle_by_value(value: float | None) -> None:
    got = orders(PacingOrder(column="x", by="value", seed=1), [value] * 50)
    known = value is not None and value == value
    assert len(set(got)) == (50 if known else 1)


def test_a_pacing_that_one_pass_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at time 0\.\d+ only 0\.\d+ of the texts .* `pacing: sort`"):
        PacingOrder(column="x", pacing=Pacing(kind="exponential"))
    with pytest.raises(ValueError, match=r"at time 0\.2 only 0\.01"):
        PacingOrder(column="x", pacing=Pacing(kind="step"))
    assert PacingOrder(column="x", pacing=Pacing(kind="exponential"), by="value")
