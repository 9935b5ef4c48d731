"""A weighted sample without replacement: exact probabilities, exact budgets, any cut."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from scipy import stats

from operators.importance import Importance
from operators.importance_key import ImportanceKey

WEIGHTS = np.array([0.5, 1.0, 1.0, 2.0, 4.0, 8.0])


def subset_probabilities(weights: np.ndarray, k: int) -> dict[tuple[int, ...], float]:
    """The probability of every set of k rows when they are drawn one after the other (enumeration)."""
    out = {}
    for chosen in combinations(range(len(weights)), k):
        total = 0.0
        for order in permutations(chosen):
            rest, p = weights.sum(), 1.0
            for i in order:
                p *= weights[i] / rest
                rest -= weights[i]
            total += p
        out[chosen] = total
    return out


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_subsets_have_the_probabilities_of_drawing_in_turn(temperature: float) -> None:
    draws, n = 20_000, len(WEIGHTS)
    batch = pa.RecordBatch.from_pydict(
        {"s": np.tile(np.log(WEIGHTS), draws), "key": np.arange(draws * n, dtype=np.uint64)}
    )
    op = ImportanceKey(score="s", seed=11, temperature=temperature)
    keys = op.columns(batch, {})["priority"].to_numpy().reshape(draws, n)
    best = np.sort(np.argsort(keys, axis=1)[:, -2:], axis=1)
    expected = subset_probabilities(WEIGHTS ** (1 / temperature), 2)
    seen = [int((best == pair).all(axis=1).sum()) for pair in expected]
    assert stats.chisquare(seen, np.array(list(expected.values())) * draws).pvalue > 1e-3


def kept_rows(data: pa.Table, fields: dict[str, Any], **how: Any) -> list[int]:
    drop = run(Importance(seed=9, **fields), data, **how).column("drop").to_pylist()
    return [i for i, reason in enumerate(drop) if reason is None]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.floats(), st.integers(0, 50)), max_size=40),
    st.integers(0, 600),
    st.sampled_from([1, 7, 40]),
)
def test_token_budget_equals_brute_force(rows: list[Any], budget: int, size: int) -> None:
    scores, tokens = [r[0] for r in rows], [r[1] for r in rows]
    data = pa.table({"s": pa.array(scores, pa.float64()), "tokens": pa.array(tokens, pa.int64())})
    got = kept_rows(data, {"score": "s", "score_is": "rank", "keep_tokens": budget}, batch_rows=size)
    good = [i for i, s in enumerate(scores) if s is not None and math.isfinite(s)]
    order = sorted(good, key=lambda i: (-(scores[i] or 0.0), i))
    fits = np.cumsum([tokens[i] for i in order]) <= budget
    assert got == sorted(i for i, fit in zip(order, fits, strict=True) if fit)


@settings(max_examples=20, deadline=None)
@given(
    st.sets(st.integers(0, 60)), st.sampled_from([{"keep_rows": 9}, {"keep_share": 0.3}, {"keep_tokens": 70}])
)
def test_the_same_rows_for_any_cut(bounds: set[int], budget: dict[str, Any]) -> None:
    data = pa.table({"s": np.sin(np.arange(60)), "tokens": np.arange(60) % 7})
    whole = kept_rows(data, {"score": "s", **budget})
    assert kept_rows(data, {"score": "s", **budget}, cut=sorted(bounds)) == whole
    if "keep_rows" in budget:
        assert len(whole) == 9


def test_each_group_has_its_budget() -> None:
    data = pa.table({"s": np.zeros(40), "g": ["a", "b", "b", "b"] * 10})
    kept = kept_rows(data, {"score": "s", "keep_rows": {"a": 2, "b": 5}, "group": "g"})
    assert len([i for i in kept if i % 4 == 0]) == 2
    assert len(kept) == 7


def test_no_score_is_never_kept_and_has_its_reason() -> None:
    scores = [1.0, math.nan, None, math.inf, -math.inf, 2.0]
    data = pa.table({"s": pa.array(scores, pa.float64())})
    drop = run(Importance(score="s", keep_rows=6), data).column("drop").to_pylist()
    assert drop == [None, "no_score", "no_score", "no_score", "no_score", None]


def test_one_budget_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"takes one of .*, got keep_rows, keep_tokens"):
        Importance(score="s", keep_rows=1, keep_tokens=1)
