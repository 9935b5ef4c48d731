"""The keep rank against Python's own sorting."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import Kind
from operators.kernels.keep_order import first_in_order, first_of_each, keep_rank, keep_reads, keep_tier

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


DAYS = ["2024-02-29", None, "1969-12-31", "2024-02-28"]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns", "UTC")])
def test_dates_and_times(kind: pa.DataType) -> None:
    days = pa.array([day and date.fromisoformat(day) for day in DAYS], pa.date32())
    batch = pa.RecordBatch.from_pydict({"day": days.cast(kind)})
    assert np.argsort(keep_rank("day:min", "text", batch), kind="stable").tolist() == [2, 3, 0, 1]
    assert np.argsort(keep_rank("day:max", "text", batch), kind="stable").tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_strings_are_iso_dates(kind: pa.DataType) -> None:
    texts = ["2024-02-28T23:00:00Z", "", "2024-02-29T00:30:00+02:00", "2024-02-28T21:59:59.5Z", None]
    batch = pa.RecordBatch.from_pydict({"day": pa.array(texts, kind)})
    assert np.argsort(keep_rank("day:min", "text", batch), kind="stable").tolist() == [3, 2, 0, 1, 4]
    plain = pa.RecordBatch.from_pydict({"day": pa.array(["2024-01-02 10:00:00", "2024-01-02", None], kind)})
    assert np.argsort(keep_rank("day:min", "text", plain), kind="stable").tolist() == [1, 0, 2]
    for odd in (["soon"], ["2024-01-02", "2024-01-02T00:00:00Z"]):
        with pytest.raises(ValueError, match="day holds strings that are no dates"):
            keep_rank("day:min", "text", pa.RecordBatch.from_pydict({"day": pa.array(odd, kind)}))


def test_tiers() -> None:
    columns = {
        "domain": ["web", "wiki", None, "wiki", "docs"],
        "lang": pa.array(["en", None, "en", "en", "fr"], pa.large_string()),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    assert keep_tier({}, batch).tolist() == [0] * 5
    assert keep_tier({"domain": ["wiki", "docs"]}, batch).tolist() == [2, 0, 2, 0, 1]
    both = keep_tier({"domain": ["wiki", "docs"], "lang": ["en"]}, batch)
    assert np.argsort(both, kind="stable").tolist() == [3, 1, 4, 0, 2]
    assert keep_reads("x:max", {"lang": ["en"]}, "text") == {"lang": Kind.STRING, "x": Kind.ORDERED}


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3, st.integers(0, 9)), min_size=1))
def test_first_in_order(rows: list[tuple[int, int, int, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    key, tier, rank, uid = (np.array(column) for column in zip(*rows, strict=True))
    rank = np.where(rank == 3, 2**64 - 1, rank.astype(np.uint64))  # the last rank of all, as nulls have
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    found = first_in_order(tier.astype(np.uint16), rank, uid, starts)
    order = list(zip(key.tolist(), tier.tolist(), rank.tolist(), uid.tolist(), strict=True))
    want = [min(row[1:] for row in order if row[0] == one) for one in sorted(set(key.tolist()))]
    assert list(zip(*(part.tolist() for part in found), strict=True)) == want


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1))
def test_first_of_each(rows: list[tuple[int, int, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    key, rank, uid = (np.array(column) for column in zip(*rows, strict=True))
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    best, first = first_of_each(rank.astype(np.uint64), uid, starts)
    want = [min((r, u) for k, r, u in rows if k == one) for one in sorted(set(key.tolist()))]
    assert list(zip(best.tolist(), first.tolist(), strict=True)) == want
