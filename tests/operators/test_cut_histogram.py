"""One round: exact sums for any tree of merges, and the bin in which the budget ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.contract import Artifact
from operators.cut_histogram import CutHistogram

ROWS = st.lists(
    st.tuples(st.none() | st.integers(0, 2**64 - 1), st.integers(0, 5), st.sampled_from(["a", "bcd", None])),
    max_size=20,
)


def batch(rows: list[Any], first: int = 0) -> pa.RecordBatch:
    keys, weights, groups = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.RecordBatch.from_pydict(
        {
            "k": pa.array(keys, pa.uint64()),
            "w": pa.array(weights, pa.int64()),
            "g": pa.array(groups, pa.large_string()),
            "uid": pa.array(range(first, first + len(rows)), pa.int64()),
        }
    )


def same(a: Artifact, b: Artifact) -> bool:
    return set(a) == set(b) and all(a[k].tobytes() == b[k].tobytes() and a[k].dtype == b[k].dtype for k in a)


@settings(deadline=None, max_examples=40)
@given(ROWS, ROWS, ROWS)
def test_merging_is_associative_commutative_and_has_a_neutral_element(
    one: list[Any], two: list[Any], three: list[Any]
) -> None:
    op = CutHistogram(by="k", rule="amount", amount=3, weight="w", group="g")
    a, b, c = (op.fold(batch(rows), {}) for rows in (one, two, three))
    empty = op.fold(batch([]), {})
    assert same(op.merge(op.merge(a, b), c), op.merge(a, op.merge(c, b)))
    assert same(op.merge(a, empty), a)
    assert same(op.merge(empty, a), a)
    assert same(op.fold(batch(one + two + three), {}), op.merge(op.merge(a, b), c))


def test_the_boundary_is_the_bin_where_the_budget_ends() -> None:
    tops = [5, 9, 9, 7, 7, 7]
    rows = [(top << 48 | i, 10, "a") for i, top in enumerate(tops)]
    op = CutHistogram(by="k", rule="amount", amount=45, weight="w")
    state = op.finish(op.fold(batch(rows), {}), {})
    assert int(state["hi"][0]) == 7 << 48
    assert int(state["hi_mask"][0]) == 0xFFFF << 48
    assert state["left"].tolist() == [25]  # 45 without both 9s
    assert not state["settled"][0]
    second = CutHistogram(by="k", rule="amount", amount=45, weight="w", round=1)
    after = second.finish(second.fold(batch(rows), {"last": state}), {"last": state})
    assert int(after["hi_mask"][0]) == 0xFFFFFFFF << 32
    assert after["left"].tolist() == [25]


def test_a_lone_row_and_a_used_up_budget_settle() -> None:
    rows = [(top << 48, 1, "a") for top in (9, 8, 8, 7)]
    for amount, settled in ((0, True), (1, True), (2, False), (3, True), (4, True)):
        op = CutHistogram(by="k", rule="amount", amount=amount)
        state = op.finish(op.fold(batch(rows), {}), {})
        assert bool(state["settled"][0]) is settled
        assert bool(state["whole"][0]) is (amount == 4)


def test_the_artifact_says_what_there_was() -> None:
    rows = [(1, 3, "a"), (None, 4, "a"), (2, 5, None)]
    op = CutHistogram(by="k", rule="share", amount=0.5, weight="w", group="g")
    state = op.finish(op.fold(batch(rows), {}), {})
    assert state["names"].tolist() == [b"", b"a."]
    assert state["rows"].tolist() == [1, 2]
    assert state["weight"].tolist() == [5, 7]
    assert state["budget"].tolist() == [2, 3]


@pytest.mark.parametrize("group", [None, "g"])
def test_a_summary_stays_within_its_bound(group: str | None) -> None:
    op = CutHistogram(by="k", rule="amount", amount=3, group=group)
    rows = [(i, 1, f"group {i}") for i in range(300)]
    assert sum(array.nbytes for array in op.fold(batch(rows), {}).values()) <= op.state_bytes


def test_long_names_of_groups_are_refused() -> None:
    op = CutHistogram(by="k", rule="amount", amount=3, group="g")
    with pytest.raises(ValueError, match="is 300 bytes long"):
        op.fold(batch([(1, 1, "x" * 300)]), {})


def test_keys_of_one_value_are_told_apart_by_uid() -> None:
    rows = [(7, 1, "a")] * 3
    state: Artifact = {}
    for number in range(8):
        op = CutHistogram(by="k", rule="amount", amount=1, round=number)
        uses = {"last": state} if number else {}
        state = op.finish(op.fold(batch(rows, first=10), uses), uses)
    assert state["settled"].all()
    assert int(~state["lo"][0]) == 11  # the first row that does not fit
    assert np.array_equal(state["lo_mask"], [2**64 - 1])
