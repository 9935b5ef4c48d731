"""k-means sampling: the sum of squares against scikit-learn, the nearest rows by brute force, and laws."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of, ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, pairwise_distances_argmin_min

from gpu_ops.kernels.clusters import clustered
from gpu_ops.kmeans_sample import KmeansSample
from operators.kernels.counter import mix64


def keys(n: int) -> np.ndarray:
    return mix64(np.arange(n, dtype=np.uint64))


def means(x: np.ndarray, label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.array([np.average(x[label == one], 0, weight[label == one]) for one in np.unique(label)])


def inertia(x: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float:
    centres = means(x, label, weight)
    return float((weight * ((x - centres[np.unique(label, return_inverse=True)[1]]) ** 2).sum(axis=1)).sum())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "k"), [("digits", 10), ("digits", 90), ("blobs", 30), ("noise", 20)])
def test_inertia_is_that_of_scikit_learn(name: str, k: int, weighted: bool) -> None:
    data = {
        "digits": lambda: load_digits().data,
        "blobs": lambda: make_blobs(1500, 12, centers=30, cluster_std=2.0, random_state=1)[0] + 50,
        "noise": lambda: np.random.default_rng(0).normal(size=(1500, 12)),
    }
    x = data[name]()
    weight = np.random.default_rng(1).random(len(x)) ** 2 if weighted else np.ones(len(x))
    found = clustered(x.astype(np.float32), k, keys(len(x)), 1, weight if weighted else None)
    oracle = KMeans(k, n_init=2, random_state=0).fit(x, sample_weight=weight)
    assert inertia(x, found.label, weight) <= 1.01 * oracle.inertia_
    if name == "blobs":
        assert adjusted_rand_score(oracle.labels_, found.label) > 0.95


def test_the_rows_nearest_to_the_centres_are_chosen_the_largest_clusters_first() -> None:
    x = np.random.default_rng(3).normal(size=(400, 6)).astype(np.float32)
    found = run(KmeansSample(keep_rows=12, seed=5, rounds=1000), pool_of(x))
    label = clustered(x, 12, keys(400), 5, rounds=1000).label
    centres = means(x, label, np.ones(400))
    nearest, _ = pairwise_distances_argmin_min(centres, x)
    chosen = ranked(found)
    assert sorted(chosen) == sorted(nearest.tolist())
    sizes = np.bincount(label)[label[chosen]]
    assert found["weight"].to_numpy()[chosen].tolist() == sizes.tolist() == sorted(sizes, reverse=True)
    assert sizes.sum() == 400
    np.testing.assert_array_equal(KMeans(12, init=centres, n_init=1, max_iter=1).fit(x).labels_, label)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 8), shift=st.integers(-50, 50))
def test_neither_order_nor_batches_nor_a_shift_or_another_unit_change_the_choice(
    seed: int, k: int, shift: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-99, 99, size=(40, 3)).astype(float)
    op, key = KmeansSample(keep_rows=k, seed=seed), pa.array(keys(40))
    want = set(ranked(run(op, pool_of(x, key=key))))
    assert set(ranked(run(op, pool_of(x, key=key), cut=[3, 20]))) == want
    assert set(ranked(run(op, pool_of(4 * x + shift, key=key)))) == want
    order = rng.permutation(40)
    again = ranked(run(op, pool_of(x[order], key=key.take(pa.array(order)))))
    label = clustered(x.astype(np.float32), k, keys(40), seed).label
    turned = clustered(x[order].astype(np.float32), k, keys(40)[order], seed).label
    np.testing.assert_array_equal(turned, label[order])
    assert len(set(again)) == k  # of rows equally far from a centre the first one in order is chosen


def test_copies_fill_up_and_rows_chosen_before_take_no_part() -> None:
    x = np.repeat(np.eye(3), [5, 4, 1], axis=0)
    found = run(KmeansSample(keep_rows=6, seed=1), pool_of(x))
    assert ranked(found)[:3] == [0, 5, 9]
    assert found["weight"].to_pylist()[0] == 5
    assert len(ranked(found)) == 6
    far = np.array([[0.0], [1], [2], [100]])
    before = pa.array([None, None, None, "a"])
    found = run(KmeansSample(keep_rows=1, labelled="label"), pool_of(far, label=before))
    assert found["rank"].to_pylist() == [None, 0, None, None]
    assert found["drop"].to_pylist() == ["not_selected", None, "not_selected", None]


def test_weights_pull() -> None:
    x = np.arange(5.0)[:, None]
    for weights, chosen in (([1, 1, 1, 1, 1], 2), ([0, 0, 0, 1, 1], 3), ([0, 0, 0, 0, 0], 2)):
        found = run(KmeansSample(keep_rows=1, weights="w"), pool_of(x, w=pa.array(weights)))
        assert ranked(found) == [chosen]
    with pytest.raises(ValueError, match=r"w is -1\.0 at uid 3"):
        run(KmeansSample(keep_rows=1, weights="w"), pool_of(x, w=pa.array([1, 1, 1, -1, 1])))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_nothing_and_next_to_nothing(n: int) -> None:
    found = run(KmeansSample(keep_rows=3, weights="w"), pool_of(np.ones((n, 2)), w=pa.array([1.0] * n)))
    assert found["rank"].to_pylist() == list(range(n))


def test_numbers_that_are_far_too_large_count_as_1e15() -> None:
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    x[4] = 1e17
    found = clustered(x, 2, keys(20), 1)
    assert np.flatnonzero(found.label == found.label[4]).tolist() == [4]
