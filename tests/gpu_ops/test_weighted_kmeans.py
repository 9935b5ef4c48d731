"""Weighted k-means: against scikit-learn on the most informative rows, and what a score may be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min

from gpu_ops.weighted_kmeans import WeightedKmeans


def chosen_of(found: pa.Table) -> list[int]:
    return np.flatnonzero(found["rank"].combine_chunks().is_valid()).tolist()


def test_it_is_what_scikit_learn_makes_of_the_most_informative_rows() -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(6, 5)) * 20
    x = np.concatenate([centres[i % 6] + rng.normal(size=5) for i in range(300)]).reshape(300, 5)
    margin = rng.permutation(300) / 300
    op = WeightedKmeans(keep_rows=6, prefilter=20, seed=1, rounds=1000)
    few = np.argsort(margin)[:120]
    oracle = KMeans(6, n_init=10, random_state=0).fit(x[few], sample_weight=1 - margin[few])
    nearest, _ = pairwise_distances_argmin_min(oracle.cluster_centers_, x[few])
    found = run(op, pool_of(x, margin=margin))
    assert chosen_of(found) == sorted(few[nearest].tolist())
    assert found["weight"].drop_null().to_numpy().sum() == 120
    assert margin[chosen_of(found)].max() < 0.4


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), prefilter=st.sampled_from([1, 2.5, 10, None]))
def test_only_the_most_informative_are_chosen(seed: int, k: int, prefilter: float | None) -> None:
    rng = np.random.default_rng(seed)
    x, entropy = rng.normal(size=(40, 3)), rng.integers(0, 9, 40)
    op = WeightedKmeans(keep_rows=k, prefilter=prefilter, score="entropy", descending=True, seed=seed)
    found = run(op, pool_of(x, entropy=entropy))
    chosen = chosen_of(found)
    assert len(chosen) == k
    most = 40 if prefilter is None else min(40, int(prefilter * k))
    assert entropy[chosen].min() >= np.sort(entropy)[::-1][most - 1]
    assert found["weight"].drop_null().to_numpy().sum() == max(most, k)
    low = WeightedKmeans(keep_rows=k, prefilter=prefilter, score="margin", seed=seed)
    again = run(low, pool_of(x, margin=1 - entropy / 8))
    assert chosen_of(again) == chosen_of(found)  # 1 - margin is a constant times the entropy
    assert run(op, pool_of(x, entropy=entropy), cut=[7, 31]).equals(found)


def test_rows_chosen_before_and_rows_without_a_score_are_left_out() -> None:
    x, margin = np.arange(6.0)[:, None], pa.array([0.0, 0.0, None, float("nan"), 0.5, 0.9])
    before = pa.array([True, False, False, False, False, None])
    found = run(WeightedKmeans(keep_rows=2, labelled="b"), pool_of(x, margin=margin, b=before))
    assert chosen_of(found) == [1, 4] or chosen_of(found) == [1, 5]
    assert found["drop"].to_pylist()[2:4] == ["not_comparable"] * 2
    assert found["drop"].to_pylist()[0] is None


@pytest.mark.parametrize(
    ("descending", "bad", "message"),
    [(False, 1.5, "margin is 1.5 at uid 1; without"), (True, -0.5, "margin is -0.5 at uid 1; with")],
)
def test_a_score_that_is_no_weight_is_an_error(descending: bool, bad: float, message: str) -> None:
    op = WeightedKmeans(keep_rows=1, descending=descending)
    with pytest.raises(ValueError, match=message):
        run(op, pool_of(np.eye(2), margin=pa.array([0.5, bad])))


def test_scores_that_are_all_alike_leave_it_to_chance() -> None:
    x, margin = np.random.default_rng(0).normal(size=(200, 2)), np.ones(200)
    seen = [
        set(chosen_of(run(WeightedKmeans(keep_rows=4, seed=s), pool_of(x, margin=margin)))) for s in range(9)
    ]
    assert len({frozenset(one) for one in seen}) == 9


def test_nothing_at_all() -> None:
    assert (
        run(WeightedKmeans(keep_rows=3), pool_of(np.ones((0, 2)), margin=pa.array([], pa.float64()))).num_rows
        == 0
    )
