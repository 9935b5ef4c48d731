"""k-means against scikit-learn, and the same bits for any cut, order of merges and device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs

from gpu_ops.kernels.centres import spread_out, sums
from gpu_ops.kernels.cosine import NumpyTiles, TorchTiles, nearest
from gpu_ops.kernels.unit_grid import to_grid, unit_grid
from gpu_ops.kmeans import Kmeans
from gpu_ops.kmeans_move import KmeansMove
from gpu_ops.kmeans_start import KmeansStart
from operators.kernels.counter import mix64


def column(vectors: np.ndarray) -> pa.Array:
    return pa.array(list(vectors), pa.list_(pa.float64()))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def inertia(vectors: np.ndarray, label: np.ndarray) -> float:
    """The sum of squared distances from the mean of each cluster."""
    parts = (vectors[label == one] for one in np.unique(label))
    return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))


@pytest.mark.parametrize(("name", "k"), [("digits", 10), ("digits", 40), ("blobs", 30), ("noise", 20)])
def test_inertia_is_that_of_scikit_learn(name: str, k: int) -> None:
    data = {
        "digits": lambda: load_digits().data,
        "blobs": lambda: make_blobs(2000, 12, centers=30, cluster_std=2.0, random_state=1)[0],
        "noise": lambda: np.random.default_rng(0).normal(size=(2000, 12)),
    }
    vectors = unit(data[name]())
    found = run(Kmeans(clusters=k, seed=1), pa.table({"embedding": column(vectors)}))
    label = np.array(found["cluster"].to_pylist())
    oracle = KMeans(k, n_init=3, random_state=0).fit(vectors)
    assert inertia(vectors, label) <= 1.08 * oracle.inertia_


def test_every_row_goes_to_its_nearest_centre() -> None:
    vectors = np.random.default_rng(4).normal(size=(500, 8))
    found = run(Kmeans(clusters=6, rounds=300, seed=2), pa.table({"embedding": column(vectors)}))
    label = np.array(found["cluster"].to_pylist())
    # It ran until nothing moved: the centres are the directions of the clusters' sums.
    centres = unit(np.array([unit(vectors)[label == one].sum(axis=0) for one in range(6)]))
    cosine = unit(vectors) @ centres.T
    np.testing.assert_allclose(found["similarity"].to_numpy(), cosine.max(axis=1), atol=1e-3)
    assert (cosine[np.arange(500), label] >= cosine.max(axis=1) - 1e-3).all()


def test_the_number_of_clusters_is_a_quarter_of_the_root_at_most_the_distinct() -> None:
    vectors = np.random.default_rng(0).normal(size=(1700, 3))
    for rows, clusters in ((1, 1), (15, 1), (16, 1), (25, 2), (1600, 10), (1681, 11)):
        found = run(Kmeans(), pa.table({"embedding": column(vectors[:rows])}))
        assert len(set(found["cluster"].to_pylist())) == clusters
    same = pa.table({"embedding": column(np.tile(vectors[:3], (40, 1)))})
    assert len(set(run(Kmeans(clusters=50), same)["cluster"].to_pylist())) == 3


@settings(max_examples=20)
@given(st.lists(st.integers(0, 60), max_size=6), st.integers(0, 99))
def test_any_cut_gives_the_same(cut: Sequence[int], seed: int) -> None:
    vectors = np.random.default_rng(seed).integers(-2, 3, size=(60, 3)).astype(float)  # many ties
    table = pa.table({"embedding": column(vectors)})
    op = Kmeans(clusters=5, seed=seed)
    assert run(op, table, cut=sorted(cut)).equals(run(op, table))


def test_the_start_is_a_sample_by_key_and_not_by_place() -> None:
    vectors = np.random.default_rng(5).normal(size=(300, 4))
    key = mix64(np.arange(300, dtype=np.uint64))
    back = np.arange(300)[::-1]

    class Few(KmeansStart):
        @property
        def sample(self) -> int:
            return 20

    op = Few(clusters=7, seed=1)
    forth = op.fold(batch(vectors, np.arange(300), key), {})
    again = op.fold(batch(vectors[back], np.arange(300), key[back]), {})
    assert len(forth["luck"]) == 20
    np.testing.assert_array_equal(forth["cells"], again["cells"])
    np.testing.assert_array_equal(op.finish(forth, {})["centres"], op.finish(again, {})["centres"])
    assert len(op.finish(forth, {})["centres"]) == 7


def batch(vectors: np.ndarray, uid: np.ndarray, key: np.ndarray) -> pa.RecordBatch:
    return pa.record_batch({"embedding": column(vectors), "uid": pa.array(uid), "key": pa.array(key)})


def test_a_centre_that_nobody_is_near_stays() -> None:
    centres, _ = to_grid(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    rows = pa.record_batch({"embedding": column(np.array([[0.0, 1.0], [0.0, 3.0]])), "uid": pa.array([0, 1])})
    op = KmeansMove(clusters=2)
    uses = {"last": {"centres": centres}}
    after = op.finish(op.fold(rows, uses), uses)
    np.testing.assert_array_equal(after["centres"], to_grid(np.array([[0.0, 1.0], [-1.0, 0.0]]))[0])
    assert after["moved"].tolist() == [1]


def test_sums_are_exact() -> None:
    rng = np.random.default_rng(1)
    cells = rng.integers(-32767, 32768, size=(5000, 3)).astype(np.int16)
    label = rng.integers(0, 9, size=5000)
    want = [[int(v) for v in cells[label == one].astype(object).sum(axis=0)] for one in range(9)]
    assert sums(cells, label, 10).tolist() == [*want, [0, 0, 0]]


def test_a_cosine_on_the_grid_is_off_by_a_hundred_thousandth() -> None:
    vectors = unit(np.random.default_rng(2).normal(size=(400, 384)))
    cells, _ = to_grid(vectors)
    numbers = cells.astype(np.int64)
    exact = (numbers @ numbers.T) / np.sqrt(np.outer((numbers**2).sum(1), (numbers**2).sum(1)).astype(float))
    off = (exact - vectors @ vectors.T)[np.triu_indices(400, 1)]
    assert off.std() < 1.5e-5
    assert np.abs(off).max() < 8e-5


def test_a_vector_is_the_same_in_any_batch() -> None:
    vectors = np.random.default_rng(2).normal(size=(64, 383)) * 10.0 ** np.arange(-32, 32)[:, None]
    _, whole = unit_grid(column(vectors), np.arange(64))
    for i in range(64):
        np.testing.assert_array_equal(unit_grid(column(vectors[i : i + 1]), np.arange(1))[1][0], whole[i])


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
def test_torch_gives_the_same_bits(device: str) -> None:
    rng = np.random.default_rng(6)
    cells, _ = to_grid(rng.integers(-3, 4, size=(3000, 5)) + 0.01)  # equal ones, so that there are ties
    centres = cells[:200]
    for one, other in zip(
        nearest(cells, centres, NumpyTiles()), nearest(cells, centres, TorchTiles(device)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    luck = mix64(np.arange(3000, dtype=np.uint64))
    np.testing.assert_array_equal(
        spread_out(cells, luck, 300, NumpyTiles()), spread_out(cells, luck, 300, TorchTiles(device))
    )
