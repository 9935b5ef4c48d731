"""The radix select equals a full sort and a running sum, for any data, budget and cut."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run

from operators.cut import Cut

# Few different keys that share long prefixes, so that every round and every tie is met.
KEYS = st.sampled_from([None, 0, 1, 2, 255, 256, 2**16, 2**32, 2**40 + 1, 2**63, 2**64 - 2, 2**64 - 1])
ROWS = st.lists(
    st.tuples(KEYS | st.integers(0, 2**64 - 1), st.integers(0, 9), st.sampled_from("abc")), max_size=30
)


def table(rows: list[tuple[int | None, int, str]], uid: list[int] | None = None) -> pa.Table:
    keys, weights, groups = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {
        "k": pa.array(keys, pa.uint64()),
        "w": pa.array(weights, pa.int64()),
        "g": pa.array(groups, pa.large_string()),
    }
    return pa.table(columns | ({"uid": pa.array(uid, pa.int64())} if uid else {}))


def sorted_cut(keys: list[int | None], weights: list[int], uid: list[int], budget: int) -> list[str | None]:
    """The reasons by a full sort: keys descending, uid ascending, until the sum exceeds the budget."""
    order = sorted((i for i, k in enumerate(keys) if k is not None), key=lambda i: (-(keys[i] or 0), uid[i]))
    reasons = ["no_score" if k is None else "budget" for k in keys]
    total, out = 0, list[str | None](reasons)
    for i in order:
        total += weights[i]
        out[i] = None if total <= budget else "budget"
    return out


def reasons_of(op: Cut, data: pa.Table, **how: Any) -> list[str | None]:
    return run(op, data, **how).column("drop").to_pylist()


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 40), st.randoms(), st.sampled_from([1, 7, 30]))
def test_equals_a_full_sort(rows: list[Any], budget: int, random: Any, size: int) -> None:
    uid = random.sample(range(10**12), len(rows))
    keys, weights = [r[0] for r in rows], [r[1] for r in rows]
    data = table(rows, uid)
    assert reasons_of(Cut(by="k", keep_weight=budget, weight="w"), data, batch_rows=size) == sorted_cut(
        keys, weights, uid, budget
    )
    assert reasons_of(Cut(by="k", keep_rows=budget), data, batch_rows=size) == sorted_cut(
        keys, [1] * len(rows), uid, budget
    )


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 20), st.sampled_from([0.0, 0.1, 0.29, 0.5, 1.0]), st.sampled_from([1, 7, 30]))
def test_each_group_has_a_budget_of_its_own(rows: list[Any], cap: int, share: float, size: int) -> None:
    data = table(rows)
    by_rows = reasons_of(Cut(by="k", keep_rows=cap, group="g"), data, batch_rows=size)
    by_share = reasons_of(Cut(by="k", keep_share=share, weight="w", group="g"), data, batch_rows=size)
    ratio = reasons_of(Cut(by="k", keep_ratio=0.5, group="g"), data, batch_rows=size)
    groups = {g: [i for i, r in enumerate(rows) if r[2] == g] for g in {r[2] for r in rows}}
    smallest = min((len(members) for members in groups.values()), default=0)
    for members in groups.values():
        keys, weights = [rows[i][0] for i in members], [rows[i][1] for i in members]
        ones = [1] * len(members)
        part = int(Fraction(str(share)) * sum(weights))
        assert [by_rows[i] for i in members] == sorted_cut(keys, ones, members, cap)
        assert [by_share[i] for i in members] == sorted_cut(keys, weights, members, part)
        assert [ratio[i] for i in members] == sorted_cut(keys, ones, members, 2 * smallest)


def test_many_rows_with_random_keys() -> None:
    keys = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)
    weights = np.random.default_rng(1).integers(0, 1000, 20_000)
    data = pa.table({"k": keys, "w": weights})
    kept = reasons_of(Cut(by="k", keep_weight=1_234_567, weight="w"), data, batch_rows=3000)
    order = np.argsort(~keys, kind="stable")
    fits = np.cumsum(weights[order]) <= 1_234_567
    assert [r is None for r in kept] == fits[np.argsort(order)].tolist()


def test_random_keys_settle_in_two_rounds_and_equal_keys_in_eight() -> None:
    keys = np.random.default_rng(0).integers(0, 2**64, 5000, dtype=np.uint64)
    assert settled_bits(Cut(by="k", keep_rows=2500), pa.table({"k": keys})) in (16, 32)
    assert settled_bits(Cut(by="k", keep_rows=2500), pa.table({"k": np.zeros(5000, np.uint64)})) == 128
    assert settled_bits(Cut(by="k", keep_rows=5000), pa.table({"k": keys})) == 0


def settled_bits(op: Cut, data: pa.Table) -> int:
    """How many bits of key and uid the rounds had to look at to find the boundary."""
    world = World(data, 1000, None)
    world.execute("cut", op, {})
    state = world.artifacts["histogram"]
    return sum(int(state[mask][0]).bit_count() for mask in ("hi_mask", "lo_mask"))


def test_names_of_groups_keep_their_bytes() -> None:
    names = ["", ".", "a", "a\x00", "null", None, "日本", "a."]
    data = pa.table({"k": pa.array([1] * 16, pa.uint64()), "g": pa.array(names * 2, pa.large_string())})
    kept = reasons_of(Cut(by="k", keep_rows=1, group="g"), data, batch_rows=3)
    assert kept == [None] * 8 + ["budget"] * 8


def test_budgets_by_name() -> None:
    data = pa.table({"k": pa.array(range(9), pa.uint64()), "g": pa.array([0, 1, 2] * 3)})
    kept = reasons_of(Cut(by="k", keep_rows={0: 2, "*": 1}, group="g"), data)
    assert [i for i, r in enumerate(kept) if r is None] == [3, 6, 7, 8]
    with pytest.raises(
        ValueError, match=r"2 values of g have no budget, the first is '1'; add them, or '\*'"
    ):
        run(Cut(by="k", keep_rows={0: 2}, group="g"), data)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -3, 2], "w is -3 at uid 8"),
        ([1, None, 2], "w is null at uid 8"),
        ([1, 2**62, 2], "w is 4611686018427387904 at uid 8.*coarser unit"),
    ],
)
def test_weights_that_cannot_be_summed_are_named(weights: list[int | None], message: str) -> None:
    data = pa.table(
        {"k": pa.array([1, 2, 3], pa.uint64()), "w": pa.array(weights, pa.int64()), "uid": [7, 8, 9]}
    )
    with pytest.raises(ValueError, match=message):
        run(Cut(by="k", keep_weight=3, weight="w"), data)


def test_sums_beyond_64_bits_are_an_error() -> None:
    weights = pa.array([2**61] * 5, pa.int64())
    data = pa.table({"k": pa.array(range(5), pa.uint64()), "w": weights})
    with pytest.raises(ValueError, match="the sum of w is above"):
        run(Cut(by="k", keep_weight=3, weight="w"), data, batch_rows=1)


def test_a_null_key_is_an_error_on_request() -> None:
    data = pa.table({"k": pa.array([1, None], pa.uint64()), "uid": [4, 5]})
    with pytest.raises(ValueError, match="k is null at uid 5"):
        run(Cut(by="k", keep_rows=1, missing="error"), data)


def test_too_many_groups_are_an_error_that_says_what_to_do() -> None:
    data = pa.table({"k": pa.array(range(5000), pa.uint64()), "g": pa.array(range(5000))})
    with pytest.raises(ValueError, match=r"more than 4,096 groups.*coarser column"):
        run(Cut(by="k", keep_rows=1, group="g"), data)


def test_a_group_column_of_floats_is_refused() -> None:
    data = pa.table({"k": pa.array([1], pa.uint64()), "g": pa.array([0.5])})
    with pytest.raises(ValueError, match="strings or integers, this one double"):
        run(Cut(by="k", keep_rows=1, group="g"), data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "takes one of .*, got none"),
        ({"keep_rows": 1, "keep_share": 0.5}, "got keep_rows, keep_share"),
        ({"keep_weight": 1}, "keep_weight and weight=None do not go together"),
        ({"keep_rows": 1, "weight": "w"}, "keep_rows and weight='w' do not go together"),
        ({"keep_ratio": 0.5}, "needs a group column"),
        ({"keep_rows": {"a": 1}}, "needs a group column"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cut(by="k", **fields)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from([None, "g"]), st.integers(1, 30))
def test_marks_within_the_share_of_rows_that_have_a_key(
    rows: list[Any], group: str | None, size: int
) -> None:
    """What a cut of the rows with a key alone would keep; null for the others."""
    known = [i for i, row in enumerate(rows) if row[0] is not None]
    fields: dict[str, Any] = {"by": "k", "keep_share": 0.4, "group": group}
    marked = run(Cut(mark=True, **fields), table(rows), batch_rows=size).column("within").to_pylist()
    alone = reasons_of(Cut(**fields), table([rows[i] for i in known], known))
    assert [marked[i] for i in known] == [reason is None for reason in alone]
    assert {marked[i] for i in set(range(len(rows))) - set(known)} <= {None}


def test_a_mix_needs_groups_and_one_budget() -> None:
    with pytest.raises(ValueError, match="give one"):
        Cut(by="k", keep_rows=3, group="g", temperature=2, shares={"*": 1})
    for wrong in ({"keep_rows": 3}, {"keep_ratio": 0.5, "group": "g"}, {"keep_rows": {"a": 1}, "group": "g"}):
        with pytest.raises(ValueError, match="one budget for all groups"):
            Cut(by="k", temperature=2, **wrong)
