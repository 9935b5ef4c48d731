"""A mix has the shares asked for: by brute force, by the closed form, and in what is kept."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.domain_mix import DomainMix
from operators.kernels.grouping import group_codes
from operators.kernels.mixing import fill, named, tempered
from operators.mix_totals import MixTotals

DOMAINS = ["a"] * 50 + ["b"] * 20 + [None] * 7
sizes_and_weights = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=6)


def water_level(budget: int, sizes: list[int], weights: list[Fraction]) -> list[Fraction]:
    """Fractional parts by bisection on the level t: min(size, t weight) add up to the budget."""
    low, high = Fraction(0), Fraction(10**6)
    for _ in range(80):
        level = (low + high) / 2
        total = sum(min(Fraction(n), level * w) for n, w in zip(sizes, weights, strict=True))
        low, high = (level, high) if total <= budget else (low, level)
    return [min(Fraction(n), low * w) for n, w in zip(sizes, weights, strict=True)]


@settings(deadline=None, max_examples=60)
@given(sizes_and_weights, st.integers(0, 120))
def test_filling_is_the_water_level(pairs: list[tuple[int, int]], budget: int) -> None:
    sizes, weights = [n for n, _ in pairs], [Fraction(w) for _, w in pairs]
    parts = fill(budget, sizes, weights)
    room = sum(n for n, w in pairs if w)
    assert parts.sum() == min(budget, room)
    assert (parts <= sizes).all()
    expected = water_level(min(budget, room), sizes, weights)
    assert all(abs(int(part) - exact) < 1 + 1e-9 for part, exact in zip(parts, expected, strict=True))


def test_temperatures() -> None:
    sizes = np.array([900, 90, 10])
    assert fill(100, sizes, tempered(sizes, 1)).tolist() == [90, 9, 1]
    assert fill(30, sizes, tempered(sizes, 1e9)).tolist() == [10, 10, 10]
    assert fill(500, sizes, tempered(sizes, 1e9)).tolist() == [400, 90, 10]  # two domains ran out
    root = np.sqrt(sizes)
    assert np.abs(fill(40, sizes, tempered(sizes, 2)) - 40 * root / root.sum()).max() < 1


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"keep_rows": 21, "temperature": 1e9}, {"a": 7, "b": 7, None: 7}),
        ({"keep_rows": 33, "temperature": 1e9}, {"a": 13, "b": 13, None: 7}),
        ({"keep_share": 0.5}, {"a": 25, "b": 10, None: 3}),
        ({"keep_rows": 10, "shares": {"b": 1, "a": 4, "*": 0}}, {"a": 8, "b": 2}),
        ({"keep_rows": 10**6}, {"a": 50, "b": 20, None: 7}),
    ],
)
def test_rows_kept(fields: dict[str, Any], counts: dict[str | None, int]) -> None:
    drop = run(DomainMix(seed=5, **fields), pa.table({"domain": DOMAINS}))["drop"].to_pylist()
    assert set(drop) <= {None, "not_mixed"}
    assert Counter(DOMAINS[i] for i, reason in enumerate(drop) if reason is None) == counts


def test_tokens_are_shared_to_within_a_row() -> None:
    luck = np.random.default_rng(1)
    tokens = luck.integers(1, 20, 300)
    domain = np.where(np.arange(300) < 250, "a", "b")
    table = pa.table({"domain": domain, "tokens": tokens})
    drop = run(DomainMix(seed=5, keep_tokens=400, temperature=1e9), table)["drop"].combine_chunks()
    kept = np.asarray(drop.is_null())
    for name in ("a", "b"):
        assert 200 - 20 < tokens[kept & (domain == name)].sum() <= 200


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 77)), st.integers(0, 60))
def test_any_cut_gives_the_same_and_more_is_a_superset(bounds: set[int], rows: int) -> None:
    table = pa.table({"domain": DOMAINS})
    op = DomainMix(seed=2, keep_rows=rows, temperature=2)
    whole = run(op, table)["drop"]
    assert run(op, table, cut=sorted(bounds))["drop"].to_pylist() == whole.to_pylist()
    more = run(DomainMix(seed=2, keep_rows=rows + 9, temperature=2), table)["drop"]
    both = zip(whole.to_pylist(), more.to_pylist(), strict=True)
    assert all(after is None for before, after in both if before is None)


def test_totals_tell_what_the_cut_keeps() -> None:
    op = MixTotals(group="domain", keep_rows=33, temperature=1e9)
    batches = pa.table({"domain": pa.array(DOMAINS)}).to_batches(max_chunksize=30)
    state = op.fold(batches[0], {})
    for batch in batches[1:]:
        state = op.merge(op.fold(batch, {}), state)
    empty = op.fold(batches[0].slice(0, 0), {})
    assert op.merge(state, empty)["rows"].tolist() == state["rows"].tolist()
    assert op.tell(op.finish(state, {})).splitlines() == [
        "domain: rows there are (share of all) -> budget (share of the mix)",
        "'a': 50 (64.9%) -> 13 (39.4%)",
        "'b': 20 (26.0%) -> 13 (39.4%)",
        "null: 7 (9.1%) -> 7 (21.2%, whole)",
    ]


def test_shares_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="one of keep_rows"):
        DomainMix()
    with pytest.raises(ValueError, match="give one of them"):
        DomainMix(keep_rows=3, temperature=2, shares={"a": 1})
    names, _ = group_codes(pa.array(["a", "b"]), 2)
    with pytest.raises(ValueError, match="1 values of domain have no share, the first is 'b'"):
        named(names, {"a": 1}, "domain")
