"""The k nearest against brute force, scikit-learn and faiss, and the same bits for any blocks and device."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from gpu_ops.kernels import neighbours
from gpu_ops.kernels.neighbours import TILE, Metric, Neighbours, top_k

METRICS: tuple[Metric, ...] = ("cosine", "l2")
DEVICES = [
    "torch",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def same(one: Neighbours, other: Neighbours) -> None:
    np.testing.assert_array_equal(one.index, other.index)
    np.testing.assert_array_equal(one.value, other.value)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_the_nearest_are_those_of_scikit_learn(metric: Metric, kind: type) -> None:
    rng = np.random.default_rng(1)
    data, queries = (rng.normal(size=(n, 20)).astype(kind) + kind(3) for n in (700, 90))
    oracle = NearestNeighbors(
        n_neighbors=12, algorithm="brute", metric="cosine" if metric == "cosine" else "l2"
    )
    distance, index = oracle.fit(data.astype(np.float64)).kneighbors(queries.astype(np.float64))
    found = top_k(queries, data, 12, metric)
    np.testing.assert_array_equal(found.index, index)
    value = 1 - distance if metric == "cosine" else distance
    np.testing.assert_allclose(found.value, value, atol=1e-7)


@pytest.mark.parametrize("metric", METRICS)
def test_the_nearest_are_those_of_faiss(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    data, queries = (rng.normal(size=(n, 32)).astype(np.float32) for n in (TILE + 3000, 50))
    if metric == "cosine":
        data, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (data, queries))
    oracle = faiss.IndexFlatIP(32) if metric == "cosine" else faiss.IndexFlatL2(32)
    oracle.add(data)
    value, index = oracle.search(queries, 5)
    found = top_k(queries, data, 5, metric)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.value if metric == "cosine" else found.value**2, value, rtol=1e-4)


def whole(queries: np.ndarray, data: np.ndarray, k: int) -> list[list[int]]:
    """By all squared distances, which are integers; ties by index."""
    square = ((queries.astype(np.int64)[:, None] - data.astype(np.int64)) ** 2).sum(axis=2)
    return [np.argsort(row, kind="stable")[:k].tolist() for row in square]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 150),
    k=st.integers(1, 12),
    far=st.sampled_from([0, 100_000]),
    cuts=st.lists(st.integers(0, 150), max_size=5),
)
def test_ties_go_to_the_lowest_index_for_any_blocks(
    seed: int, n: int, k: int, far: int, cuts: Sequence[int]
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(-1, 2, size=(n, 3)).astype(np.float32) + far  # many copies, more than SPARE of them
    queries = rng.integers(-1, 2, size=(7, 3)).astype(np.float32) + far
    bounds = [0, *sorted(min(cut, n) for cut in cuts), n]
    found = top_k(queries, (data[a:b] for a, b in pairwise(bounds)), k, "l2")
    want = whole(queries, data, k)
    assert found.index.tolist() == [row + [-1] * (k - len(row)) for row in want]
    assert np.isnan(found.value[:, n:]).all()
    same(found, top_k(queries, data, k, "l2"))
    cosine = top_k(queries + 0.5, data + 0.5, k)
    same(cosine, top_k(queries + 0.5, (data[a:b] + 0.5 for a, b in pairwise(bounds)), k))
    for row, values in zip(cosine.index, cosine.value, strict=True):
        assert (np.diff(values[: min(n, k)]) <= 0).all()
        ties = np.diff(values[: min(n, k)]) == 0
        assert (np.diff(row[: min(n, k)])[ties] > 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_what_float32_cannot_tell_apart_is_told_apart(metric: Metric) -> None:
    """A hundred vectors whose distances differ by 1e-9, among others."""
    rng = np.random.default_rng(5)
    query = np.ones((1, 8))
    direction = np.array([1.0, -1, 0, 0, 0, 0, 0, 0])
    order = rng.permutation(100)
    close = query + (1e-3 + 1e-9 * order[:, None]) * direction
    data = np.concatenate([rng.normal(size=(300, 8)), close])
    assert len(set(map(bytes, close.astype(np.float32)))) < 100
    found = top_k(query, data, 30, metric)
    np.testing.assert_array_equal(found.index[0], 300 + np.argsort(order)[:30])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", METRICS)
def test_torch_gives_the_same_bits(metric: Metric, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    data = rng.normal(size=(3000, 24)).astype(np.float32).repeat(2, axis=0)
    queries = data[::40] + np.float32(0.01)
    ours = top_k(queries, data, 7, metric)
    if device == "torch":  # as where faiss is not installed
        monkeypatch.setitem(__import__("sys").modules, "faiss", None)
        device = "cpu"
    same(ours, top_k(queries, data, 7, metric, device=device))
    torch.set_float32_matmul_precision("high")
    try:
        same(ours, top_k(queries, data, 7, metric, device=device))
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("metric", METRICS)
def test_nobody_is_its_own_neighbour_if_so_asked(metric: Metric) -> None:
    data = np.random.default_rng(7).normal(size=(60, 4)).repeat(2, axis=0)
    own = np.arange(120)
    found = top_k(data, data, 3, metric, own)
    np.testing.assert_array_equal(found.index[:, 0], own ^ 1)  # the copy, not itself
    assert not (found.index == own[:, None]).any()
    alone = top_k(data[:1], data[:1], 2, metric, own[:1])
    assert alone.index.tolist() == [[-1, -1]]
    same(top_k(data, data, 3, metric, np.full(120, -1)), top_k(data, data, 3, metric))


def test_what_cannot_be_compared_has_no_neighbours_and_is_none() -> None:
    nan, inf = float("nan"), float("inf")
    odd = np.array([[nan, 1.0], [0.0, 0.0], [inf, 1.0], [1.0, 0.0], [0.0, 2.0]])
    assert top_k(odd, odd, 2).index.tolist() == [[-1, -1]] * 3 + [[3, 4], [4, 3]]
    assert top_k(odd, odd, 2, "l2").index.tolist() == [[-1, -1], [1, 3], [-1, -1], [3, 1], [4, 1]]
    tiny, huge = np.array([[1e-300, 0.0], [0.0, 1e300], [1e300, 1e300]]), np.array([[1.0, 0.1]])
    assert top_k(huge, tiny, 3).index.tolist() == [[0, 2, 1]]
    assert top_k(np.zeros((0, 2)), odd, 2).index.shape == (0, 2)
    assert top_k(odd, np.zeros((0, 2)), 1).index.tolist() == [[-1]] * 5


def test_a_memory_mapped_file_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TILE", 1000)
    rng = np.random.default_rng(8)
    there = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (40_000, 32))
    there[:] = rng.normal(size=there.shape)
    queries = np.array(there[::4000])
    tracemalloc.start()
    try:
        found = top_k(queries, there, 4, "l2")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.index[:, 0].tolist() == list(range(0, 40_000, 4000))
    assert (found.value[:, 0] == 0).all()
    assert peak < 1_500_000  # the file has 5.1 MB


def test_what_does_not_fit_is_an_error() -> None:
    x = np.eye(3)
    with pytest.raises(ValueError, match="k is 0"):
        top_k(x, x, 0)
    with pytest.raises(ValueError, match="the data has 2 numbers at row 3, the queries 3"):
        top_k(x, [x, x[:, :2]], 1)
    with pytest.raises(ValueError, match=r"over 1e\+15, too large for l2"):
        top_k(x, x * 1e16, 1, "l2")
