"""The greedy engine against brute force, and the same choice from factors, torch and memory-mapped files."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import chisquare
from sklearn.cluster import kmeans_plusplus
from sklearn.datasets import make_blobs

from gpu_ops.kernels.greedy import (
    BLOCK,
    Dense,
    Factored,
    distances_from,
    k_center,
    k_means_plus_plus,
    swapped,
)
from operators.kernels.counter import mix64


def keys(n: int) -> np.ndarray:
    return mix64(np.arange(n, dtype=np.uint64))


def plain_k_center(x: np.ndarray, k: int, chosen: list[int], weight: np.ndarray) -> list[int]:
    """By all pairs, with integers: the farthest from those before, the first of equals."""
    numbers, picks = x.astype(object), []
    square = [[int(((a - b) ** 2).sum()) for b in numbers] for a in numbers]
    for _ in range(k):
        far = [int(weight[i]) * min(square[i][j] for j in chosen + picks) for i in range(len(x))]
        if max(far) == 0:
            break
        picks.append(far.index(max(far)))
    return picks


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), k=st.integers(0, 12), before=st.integers(0, 3))
def test_k_center_is_the_greedy_choice_by_brute_force(seed: int, n: int, k: int, before: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, size=(n, 2)).astype(np.float32)  # ties and copies
    weight = rng.integers(1, 4, n) if seed % 2 else np.ones(n, np.int64)
    chosen = rng.choice(n, min(before, n), replace=False).tolist()
    distance = distances_from(Dense(x), chosen) if chosen else None
    found = k_center(Dense(x), k, first=n - 1, distance=distance, weight=weight.astype(float))
    if chosen:
        want = plain_k_center(x, k, chosen, weight)
    else:
        want = [n - 1, *plain_k_center(x, k - 1, [n - 1], weight)][:k]
    assert found.index.tolist() == want
    everyone = chosen + want
    if everyone:
        np.testing.assert_allclose(
            found.distance, cdist(x, x[everyone], "sqeuclidean").min(axis=1), atol=1e-9
        )


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), n=st.integers(4, 14), k=st.integers(1, 4))
def test_the_radius_is_at_most_twice_the_best(seed: int, n: int, k: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 2))
    between = cdist(x, x)
    best = min(between[:, list(some)].min(axis=1).max() for some in combinations(range(n), k))
    found = k_center(Dense(x), k, first=seed % n)
    assert np.sqrt(found.distance.max()) <= 2 * best + 1e-9


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_factors_choose_what_their_outer_products_choose(classes: int) -> None:
    rng = np.random.default_rng(classes)
    p, h = rng.normal(size=(300, classes)), rng.normal(size=(300, 7)).astype(np.float32)
    p[10:20], h[10:20] = p[0], h[0]  # copies
    whole = np.einsum("nc,nd->ncd", p, h).reshape(300, -1)
    dense, factored = Dense(whole), Factored(p, h)
    np.testing.assert_allclose(factored.square_norms, dense.square_norms, rtol=1e-12)
    index = np.array([0, 5, 299])
    np.testing.assert_allclose(
        factored.distances_to(index), cdist(whole, whole[index], "sqeuclidean"), atol=1e-9
    )
    assert (factored.distances_to(index)[10:20, 0] == 0).all()
    weight = rng.random(300)
    for choose in (
        lambda points: k_center(points, 40, weight=weight),
        lambda points: k_means_plus_plus(points, 40, keys(300), 3, weight=weight),
        lambda points: k_means_plus_plus(points, 40, keys(300), 4, int(points.square_norms.argmax())),
    ):
        np.testing.assert_array_equal(choose(dense).index, choose(factored).index)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_torch_and_memory_mapped_files_choose_what_numpy_chooses(device: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    x, p = rng.normal(size=(2500, 6)).astype(np.float32), rng.normal(size=(2500, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    there = np.load(tmp_path / "x.npy", mmap_mode="r")
    tensor, factor = torch.from_numpy(x).to(device), torch.from_numpy(p).to(device)
    for ours, others in (
        (Dense(x), (Dense(there), Dense(tensor))),
        (Factored(p, x), (Factored(p, there), Factored(factor, tensor))),
    ):
        for other in others:
            np.testing.assert_array_equal(k_center(ours, 30).index, k_center(other, 30).index)
            one, two = (k_means_plus_plus(points, 30, keys(2500), candidates=4) for points in (ours, other))
            np.testing.assert_array_equal(one.index, two.index)
            np.testing.assert_allclose(one.distance, two.distance, rtol=1e-9, atol=1e-9)


def test_memory_is_that_of_a_block_and_not_of_the_points(tmp_path: Path) -> None:
    rows, d = 40 * BLOCK, 64
    there = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, d))
    there[:] = np.random.default_rng(0).normal(size=(rows, d))
    tracemalloc.start()
    try:
        k_center(Dense(there), 5)
        k_means_plus_plus(Factored(there, there), 5, keys(rows))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 10.5 MB of points, 21 MB as float64; a dozen arrays of n numbers and a few blocks
    assert peak < 12 * rows * 8 + 6 * BLOCK * d * 8


def test_k_means_plus_plus_draws_by_weight_and_squared_distance() -> None:
    """The second of two points, 20,000 times, against the probabilities of the paper."""
    x, weight = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([1.0, 1.0, 3.0, 0.5])
    counts, first = np.zeros(4), np.zeros(4)
    for seed in range(20_000):
        found = k_means_plus_plus(Dense(x), 2, keys(4), 7919 * seed, first=0, weight=weight)
        counts[found.index[1]] += 1
    for seed in range(5000):
        first[k_means_plus_plus(Dense(x), 1, keys(4), 7919 * seed, weight=weight).index[0]] += 1
    chance = weight * np.array([0.0, 1.0, 4.0, 16.0])
    assert counts[0] == 0
    assert chisquare(counts[1:], (chance / chance.sum())[1:] * counts.sum()).pvalue > 1e-4
    assert chisquare(first, weight / weight.sum() * first.sum()).pvalue > 1e-4


def test_the_order_of_the_points_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    x, order = rng.normal(size=(500, 4)), rng.permutation(500)
    one = k_means_plus_plus(Dense(x), 20, keys(500), 5, candidates=3)
    two = k_means_plus_plus(Dense(x[order]), 20, keys(500)[order], 5, candidates=3)
    np.testing.assert_array_equal(one.index, order[two.index])


def test_candidates_leave_less_than_scikit_learn_does() -> None:
    x, _ = make_blobs(2000, 8, centers=40, random_state=0)
    ours, theirs = [], []
    for seed in range(5):
        ours.append(k_means_plus_plus(Dense(x), 40, keys(2000), 100 * seed, candidates=15).distance.sum())
        centres, _ = kmeans_plusplus(x, 40, random_state=seed)
        theirs.append(cdist(x, centres, "sqeuclidean").min(axis=1).sum())
    assert np.mean(ours) <= np.mean(theirs)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 6))
def test_a_swap_is_the_best_of_all_by_brute_force(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(30, 2)), rng.integers(1, 5, 30).astype(float)
    chosen, between = rng.choice(30, k, replace=False), cdist(x, x, "sqeuclidean")

    def cost(index: list[int]) -> float:
        return float((weight * between[:, index].min(axis=1)).sum())

    now = chosen.tolist()
    for step in range(1, 5):  # with every point a candidate, a step is the best of all swaps
        swaps = [[*now[:i], one, *now[i + 1 :]] for i in range(k) for one in set(range(30)) - set(now)]
        best = min(swaps, key=cost)
        now = best if cost(best) < cost(now) else now
        found = swapped(Dense(x), chosen, step, keys(30), seed, weight, candidates=30)
        assert found.tolist() == now


def test_swaps_find_the_planted_clusters_that_a_bad_start_misses() -> None:
    x, truth = make_blobs(900, 8, centers=30, random_state=2)
    bad = np.flatnonzero(truth < 3)[:30]
    found = swapped(Dense(x), bad, 40, keys(900), 1, candidates=12)
    assert len(set(truth[found])) == 30


def test_what_was_chosen_before_is_not_chosen_again() -> None:
    x = np.random.default_rng(4).normal(size=(60, 3))
    before = [3, 9, 50]
    distance = distances_from(Dense(x), before)
    kept = distance.copy()
    for found in (
        k_center(Dense(x), 57, distance=distance),
        k_means_plus_plus(Dense(x), 57, keys(60), distance=distance, at_once=4, candidates=6),
    ):
        assert sorted([*found.index.tolist(), *before]) == list(range(60))
        np.testing.assert_array_equal(distance, kept)
        assert (found.distance == 0).all()


def test_copies_are_not_chosen() -> None:
    x = np.repeat(np.random.default_rng(1).normal(size=(5, 384)).astype(np.float32) * 100, 4, axis=0)
    assert sorted(k_center(Dense(x), 20).index // 4) == list(range(5))
    assert sorted(k_means_plus_plus(Dense(x), 20, keys(20)).index // 4) == list(range(5))
    nothing = np.zeros((0, 4))
    assert not len(k_center(Dense(nothing), 3).index)
    assert not len(k_means_plus_plus(Dense(nothing), 3, keys(0)).index)
    assert not len(k_means_plus_plus(Dense(x), 0, keys(20)).index)


def test_what_does_not_fit_is_an_error() -> None:
    x = np.eye(3)
    with pytest.raises(ValueError, match="p has 3 rows, h 2"):
        Factored(x, x[:2])
    with pytest.raises(ValueError, match="the first point is 3, but there are 3"):
        k_center(Dense(x), 2, first=3)
    with pytest.raises(ValueError, match="weights must be 3 numbers"):
        k_center(Dense(x), 2, weight=np.array([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match="distances must be 3 numbers"):
        k_means_plus_plus(Dense(x), 2, keys(3), distance=np.zeros(2))
    with pytest.raises(ValueError, match="k is -1"):
        k_center(Dense(x), -1)
