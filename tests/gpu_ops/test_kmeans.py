"""k-means against scikit-learn, and the same bits for any cut, order of merges and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score

from gpu_ops.kernels.centres import masses, spread_out, sums, whole_weights
from gpu_ops.kernels.cosine import NumpyTiles, TorchTiles, nearest
from gpu_ops.kernels.grids import UNIT, BoxGrid
from gpu_ops.kernels.unit_grid import to_grid, unit_grid
from gpu_ops.kmeans import Kmeans
from gpu_ops.kmeans_grid import KmeansGrid
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


def labels(op: Kmeans, vectors: np.ndarray, **columns: Sequence[object]) -> np.ndarray:
    return np.array(run(op, pa.table({"embedding": column(vectors), **columns}))["cluster"].to_pylist())


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize(("name", "k"), [("digits", 10), ("digits", 40), ("blobs", 30), ("noise", 20)])
def test_inertia_is_that_of_scikit_learn(name: str, k: int, metric: str) -> None:
    data = {
        "digits": lambda: load_digits().data,
        "blobs": lambda: make_blobs(2000, 12, centers=30, cluster_std=2.0, random_state=1)[0],
        "noise": lambda: np.random.default_rng(0).normal(size=(2000, 12)),
    }
    vectors = unit(data[name]()) if metric == "cosine" else data[name]() + 100.0
    ops = [Kmeans(clusters=k, seed=seed, metric=metric) for seed in range(3)]
    ours = min(inertia(vectors, labels(op, vectors)) for op in ops)
    oracle = KMeans(k, n_init=3, random_state=0).fit(vectors)
    assert ours <= 1.02 * oracle.inertia_


@pytest.mark.parametrize("fields", [{}, {"metric": "l2"}, {"metric": "l2", "batch": 400, "rounds": 12}])
def test_a_planted_mixture_is_found(fields: dict[str, Any]) -> None:
    vectors, truth = make_blobs(3000, 24, centers=20, cluster_std=1.5, random_state=3)
    found = labels(Kmeans(clusters=20, seed=1, **fields), vectors)
    assert adjusted_rand_score(truth, found) >= 0.95


def test_mini_batches_are_as_good_as_those_of_scikit_learn() -> None:
    vectors = load_digits().data
    oracle = MiniBatchKMeans(60, batch_size=300, n_init=1, random_state=0).fit(vectors)
    op = Kmeans(clusters=60, metric="l2", batch=300, rounds=30, seed=4)
    assert inertia(vectors, labels(op, vectors)) <= 1.02 * inertia(vectors, oracle.labels_)


def test_l2_with_weights_ends_where_scikit_learn_does_not_move_either() -> None:
    rng = np.random.default_rng(7)
    vectors, weight = rng.normal(size=(600, 5)) * 3 + 40, rng.integers(0, 9, 600)
    op = Kmeans(clusters=8, metric="l2", weights="w", rounds=300, seed=1)
    data = pa.table({"embedding": column(vectors), "w": pa.array(weight)})
    found = run(op, data)
    label = np.array(found["cluster"].to_pylist())
    means = np.array([np.average(vectors[label == i], 0, weight[label == i]) for i in range(8)])
    oracle = KMeans(8, init=means, n_init=1, max_iter=1).fit(vectors, sample_weight=weight)
    np.testing.assert_array_equal(oracle.labels_, label)
    far = np.linalg.norm(vectors - means[label], axis=1)
    np.testing.assert_allclose(found["distance"].to_numpy(), far, atol=1e-5)


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


@pytest.mark.parametrize(
    "fields", [{}, {"metric": "l2"}, {"weights": "w"}, {"metric": "l2", "weights": "w", "batch": 25}]
)
@settings(max_examples=10)
@given(cut=st.lists(st.integers(0, 60), max_size=6), seed=st.integers(0, 99))
def test_any_cut_gives_the_same(fields: dict[str, Any], cut: Sequence[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, size=(60, 3)).astype(float)  # many ties
    table = pa.table({"embedding": column(vectors), "w": pa.array(rng.random(60) + 0.01)})
    op = Kmeans(clusters=5, seed=seed, **fields)
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


def test_a_weight_counts_like_so_many_copies() -> None:
    rng = np.random.default_rng(1)
    cells = rng.integers(-(2**21), 2**21, size=(300, 4)).astype(np.int32)
    label, weight = rng.integers(0, 7, 300), rng.integers(0, 5, 300)
    copies, named = cells.repeat(weight, axis=0), label.repeat(weight)
    np.testing.assert_array_equal(sums(cells, label, 7, weight), sums(copies, named, 7))
    np.testing.assert_array_equal(masses(label, 7, weight), np.bincount(named, minlength=7))
    luck = mix64(np.arange(300, dtype=np.uint64))
    once, again = np.ones(100, np.int64), np.repeat([0, 1], [250, 50])
    weighed = spread_out(cells[:100], luck[:100], 9, NumpyTiles(), UNIT, once + 2)
    tripled = spread_out(np.tile(cells[:100], (3, 1)), np.tile(luck[:100], 3), 9, NumpyTiles())
    np.testing.assert_array_equal(weighed, tripled)
    assert len(spread_out(cells, luck, 300, NumpyTiles(), UNIT, again + 1)) == 300


def test_weights_keep_16_bits_of_the_largest() -> None:
    weight = np.array([0.0, 3e-9, 0.25, 1.0, 2.9999])
    whole = whole_weights(weight, 2.9999)
    np.testing.assert_allclose(whole / 2**14, weight, atol=2**-15)
    assert whole.max() <= 2**16


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0, -2.0], "-2.0 at uid 1"), ([float("nan"), 1.0], "nan at uid 0"), ([0.0, None], "are 0 or null")],
)
def test_weights_that_make_no_sense_are_errors(weights: list[float | None], message: str) -> None:
    table = pa.table({"embedding": column(np.eye(2)), "w": pa.array(weights, pa.float64())})
    with pytest.raises(ValueError, match=message):
        run(Kmeans(weights="w"), table)


def test_a_row_without_weight_pulls_nothing_but_has_its_cluster() -> None:
    vectors = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [50.0, 50.0]])
    table = pa.table({"embedding": column(vectors), "w": pa.array([1.0, 1.0, 1.0, None])})
    found = run(Kmeans(metric="l2", weights="w", clusters=2, seed=1), table)
    cluster = found["cluster"].to_pylist()
    assert cluster[0] == cluster[1] != cluster[2] == cluster[3]
    np.testing.assert_allclose(found["distance"].to_numpy(), [0.5, 0.5, 0, 41 * 2**0.5], atol=1e-4)


def test_a_sum_that_would_not_be_exact_is_refused() -> None:
    grid = BoxGrid.around(np.zeros(2), np.ones(2))
    op, last = KmeansMove(), {**grid.arrays(), "centres": np.zeros((1, 2), np.int32)}
    state = {"sums": np.zeros((1, 2), np.int64), "mass": np.array([2**40])}
    with pytest.raises(ValueError, match="ask for more clusters"):
        op.finish(state, {"last": last})


def test_every_round_sees_another_part_of_about_that_size() -> None:
    key = mix64(np.arange(20_000, dtype=np.uint64))
    rows = batch(np.ones((20_000, 1)), np.arange(20_000), key)
    seen = [KmeansMove(batch=5000, seed=3, round=r)._seen(rows, 20_000) for r in range(3)]
    for one in seen:
        assert abs(one.sum() - 5000) < 300  # five standard deviations
    assert abs((seen[0] & seen[1]).sum() - 1250) < 160
    back = batch(np.ones((20_000, 1)), np.arange(20_000), key[::-1])
    np.testing.assert_array_equal(KmeansMove(batch=5000, seed=3, round=2)._seen(back, 20_000), seen[2][::-1])


@pytest.mark.parametrize("size", [1e-310, 1e-30, 1.0, 1e14])
@pytest.mark.parametrize("d", [1, 3, 384])
def test_the_box_holds_any_numbers_exactly_enough(size: float, d: int) -> None:
    vectors = (np.random.default_rng(1).random((200, d)) + 7) * size
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    grid = BoxGrid.around(low, high)
    rows, cells = grid.cells(column(vectors), np.arange(200))
    assert len(rows) == 200
    assert int(np.abs(cells.astype(np.int64)).max()) <= grid.largest <= 2**24
    assert d * grid.largest**2 * 4 <= 2**53
    back = np.ldexp(cells.astype(np.float64), -grid.exponent) + grid.offset
    assert np.abs(back - vectors).max() <= np.abs(high - low).max() * 2**-20 + size * 1e-15


def test_one_place_is_one_cluster_without_distance() -> None:
    table = pa.table({"embedding": column(np.full((5, 3), 1e6))})
    found = run(Kmeans(metric="l2", clusters=3), table)
    assert found["cluster"].to_pylist() == [0] * 5
    assert found["distance"].to_pylist() == [0.0] * 5
    odd = [None, [], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], [None, 1.0]]
    found = run(Kmeans(metric="l2"), pa.table({"embedding": pa.array(odd, pa.list_(pa.float64()))}), 2)
    assert found["cluster"].to_pylist() == [None, None, 0, None, None, None]
    nothing = run(
        Kmeans(metric="l2", weights="w"),
        pa.table({"embedding": column(np.ones((0, 2))), "w": pa.array([], pa.float64())}),
    )
    assert nothing.num_rows == 0


def test_other_lengths_in_other_batches_are_an_error_with_their_places() -> None:
    lists = pa.array([[1.0, 0.0]] * 5 + [[1.0, 0.0, 0.0]], pa.list_(pa.float32()))
    with pytest.raises(ValueError, match="2 numbers at uid 0, but 3 at uid 5"):
        run(KmeansGrid(), pa.table({"embedding": lists}), 5)


def test_fields_that_make_no_sense_are_refused() -> None:
    for fields in ({"metric": "l1"}, {"batch": 0}, {"weights": ""}, {"rounds": 0}):
        with pytest.raises(ValidationError, match=next(iter(fields))):
            Kmeans(**fields)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    d=st.sampled_from([1, 2, 17, 384]),
    spread=st.sampled_from([1, 3, 1000, 2**20]),
    box=st.booleans(),
)
def test_float32_never_decides_what_it_cannot_know(seed: int, d: int, spread: int, box: bool) -> None:
    """Vectors beside each other, far from the origin: float32 alone names another one for a part of them."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-spread, spread + 1, size=(80, d)) + (2**20 if spread < 2**20 else 0)
    if box:
        cells, grid = numbers.astype(np.int32), BoxGrid(np.zeros(d), 0, 2**21)
    else:
        cells, grid = to_grid(numbers.astype(float) + 0.25)[0], UNIT
    asking, answering = cells[:50], cells[40:]
    scale, shift = grid.scoring(answering)
    value, place = NumpyTiles().best(asking, answering, scale, shift)
    exact = asking.astype(np.int64) @ answering.astype(np.int64).T * scale
    exact = exact if shift is None else exact + shift
    np.testing.assert_array_equal(place, exact.argmax(axis=1))
    np.testing.assert_array_equal(value, exact.max(axis=1))


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
    grid = BoxGrid(np.zeros(5), 0, 2**21)
    for one, other in zip(
        nearest(cells, centres, NumpyTiles(), grid),
        nearest(cells, centres, TorchTiles(device), grid),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    luck = mix64(np.arange(3000, dtype=np.uint64))
    np.testing.assert_array_equal(
        spread_out(cells, luck, 300, NumpyTiles()), spread_out(cells, luck, 300, TorchTiles(device))
    )


def test_one_corrupt_number_does_not_make_one_cluster_of_all() -> None:
    vectors = make_blobs(60, 4, centers=3, cluster_std=0.1, random_state=2)[0]
    vectors[7, 2] = 1e30
    found = run(Kmeans(metric="l2", clusters=3, seed=1), pa.table({"embedding": column(vectors)}))
    labels = found["cluster"].to_pylist()
    assert labels[7] is None
    assert len({*labels} - {None}) == 3
