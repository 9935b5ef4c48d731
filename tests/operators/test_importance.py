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
from operators.importance_threshold import ImportanceThreshold
from operators.importance_weight import ImportanceWeight
from operators.kernels.ordering import order_float64

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


def many_samples(draws: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(draws, 6) which rows are in each sample of k, and their weights (0 outside), by the operators' own
    columns: every sample is a group of its own with keys of its own."""
    n = len(WEIGHTS)
    table = {"s": np.tile(np.log(WEIGHTS), draws), "key": np.arange(draws * n, dtype=np.uint64)}
    key = ImportanceKey(score="s", seed=seed).columns(pa.RecordBatch.from_pydict(table), {})["priority"]
    rank = np.argsort(np.argsort(-order_float64(np.asarray(key)).reshape(draws, n), axis=1), axis=1)
    kept = rank < k
    weight = np.zeros((draws, n))
    for first in range(0, draws, 4000):  # at most 4,096 groups
        rows = slice(first * n, (first + 4000) * n)
        group = np.repeat(np.arange(len(kept[first : first + 4000])), n)
        columns = {"s": table["s"][rows], "g": group, "/key.priority": key[rows]}
        columns["/cut.within"] = pa.array(kept.reshape(-1)[rows])
        batch = pa.RecordBatch.from_pydict(columns)
        fold = ImportanceThreshold(group="g")
        threshold = fold.finish(fold.fold(batch, {}), {})
        out = ImportanceWeight(score="s", group="g").columns(batch, {"threshold": threshold})["weight"]
        weight[first : first + 4000] = np.asarray(out.fill_null(0.0)).reshape(-1, n)
    return kept, weight


def excess(i: int, k: int) -> float:
    """E[1 / p - 1] of row i, by quadrature: p = P(phi_i + Gumbel > K), and K the k-th largest of the others,
    whose distribution follows from enumerating who of them lies above."""
    phi = np.log(WEIGHTS)
    others = [j for j in range(len(WEIGHTS)) if j != i]
    t = np.linspace(-8, 16, 20_001)
    below = np.exp(-np.exp(phi[others][:, None] - t))
    at_most = np.zeros(len(t))  # P(K <= t): fewer than k of the others are above t
    for size in range(k):
        for above in combinations(range(len(others)), size):
            at_most += np.prod([1 - f if j in above else f for j, f in enumerate(below)], axis=0)
    return float(np.trapezoid(np.gradient(at_most, t) * (1 / -np.expm1(-np.exp(phi[i] - t)) - 1), t))


def test_inclusion_probabilities_are_those_of_enumeration() -> None:
    draws = 20_000
    kept, _ = many_samples(draws, 2, seed=3)
    expected = subset_probabilities(WEIGHTS, 2)
    one_row = [sum(p for pair, p in expected.items() if i in pair) for i in range(len(WEIGHTS))]
    for i, p in enumerate(one_row):
        assert stats.binomtest(int(kept[:, i].sum()), draws, p).pvalue > 1e-4


def test_weighted_sums_are_unbiased_with_the_variance_of_theory() -> None:
    """100,000 samples; estimates of different rows do not correlate (Duffield et al. 2007), so that the
    variance of a sum is sum x^2 E[1 / p - 1]."""
    draws, k, x = 100_000, 4, np.array([3.0, -1.0, 2.0, 5.0, 4.0, 7.0])
    kept, weight = many_samples(draws, k, seed=5)
    estimate = (weight * x).sum(axis=1)
    assert abs(estimate.mean() - x.sum()) < 3 * estimate.std() / math.sqrt(draws)
    counts = weight.sum(axis=1)
    assert abs(counts.mean() - len(x)) < 3 * counts.std() / math.sqrt(draws)
    variance = sum(x[i] ** 2 * excess(i, k) for i in range(len(x)))
    assert estimate.var() == pytest.approx(variance, rel=0.05)
    p = np.where(kept, 1 / np.maximum(weight, 1), 1)  # the estimator of the variance that a user can compute
    assert (x**2 * (1 - p) / p**2 * kept).sum(axis=1).mean() == pytest.approx(variance, rel=0.05)


def sample(scores: Any, tokens: Any, seed: int, **fields: Any) -> pa.Table:
    data = pa.table({"s": scores, "tokens": pa.array(tokens, pa.int64())})
    return run(Importance(score="s", score_is="weight", seed=seed, **fields), data)


def test_token_budgets_give_unbiased_weights_too() -> None:
    """Each of 3,000 groups is a sample of its own."""
    draws, tokens = 3000, np.array([1, 2, 3, 4, 2, 1])
    data = {
        "s": np.tile(WEIGHTS, draws),
        "tokens": np.tile(tokens, draws),
        "g": np.repeat(np.arange(draws), 6),
    }
    op = Importance(score="s", score_is="weight", keep_tokens=9, group="g", seed=1)
    weight = np.asarray(run(op, pa.table(data), batch_rows=99_999).column("weight").fill_null(0.0))
    totals = (weight.reshape(draws, 6) * tokens).sum(axis=1)
    assert abs(totals.mean() - tokens.sum()) < 3 * totals.std() / math.sqrt(draws)


def test_weights_are_one_without_chance() -> None:
    everything = sample(WEIGHTS, np.ones(6), 1, keep_rows=9)
    assert everything.column("weight").to_pylist() == [1.0] * 6
    best = sample(WEIGHTS, np.ones(6), 1, keep_rows=2, temperature=0)
    assert best.column("weight").to_pylist() == [None] * 4 + [1.0] * 2
    assert best.column("drop").to_pylist() == ["not_sampled"] * 4 + [None] * 2


def test_certain_rows_have_weight_one_and_lucky_ones_a_large_one() -> None:
    weight = sample([1e300, 1.0, 1.0, 1.0, 1.0], np.ones(5), 1, keep_rows=3).column("weight").to_pylist()
    assert weight[0] == 1.0
    assert all(1 < w < 20 for w in weight[1:] if w is not None)


def test_each_group_has_its_threshold() -> None:
    scores, groups = np.tile([1.0, 2.0, 3.0], 400), ["a"] * 600 + ["b"] * 600
    data = pa.table({"s": scores, "g": groups})
    op = Importance(score="s", score_is="weight", keep_rows={"a": 300, "b": 60}, group="g", seed=4)
    weight = np.asarray(run(op, data).column("weight").fill_null(0.0))
    assert weight[:600].sum() == pytest.approx(600, rel=0.15)
    assert weight[600:].sum() == pytest.approx(600, rel=0.4)


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


def test_the_highest_losses_are_refused_unless_noise_is_accepted() -> None:
    with pytest.raises(ValueError, match=r"score = head\.loss, the highest first: .*noise: accepted"):
        Importance(score="head.loss", temperature=0, keep_rows=1)
    with pytest.raises(ValueError, match="wrong labels"):
        Importance(score="el2n", score_is="rank", keep_rows=1)
    Importance(score="loss", temperature=0, keep_rows=1, noise="accepted")
    Importance(score="loss", temperature=0, keep_rows=1, descending=False)
    assert "beware" in Importance(score="loss", keep_rows=1).explain()
    assert "beware" not in Importance(score="gap.gap", keep_rows=1).explain()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "in proportion to exp(s / 1)"),
        ({"score_is": "weight"}, "in proportion to s;"),
        ({"score_is": "weight", "temperature": 2, "descending": False}, "inverse proportion to s^(1 / 2)"),
        ({"score_is": "rank"}, "no chance: the rows of highest s"),
    ],
)
def test_the_plan_says_how_rows_are_drawn(fields: dict[str, Any], said: str) -> None:
    assert said in Importance(score="s", keep_rows=1, **fields).explain()
