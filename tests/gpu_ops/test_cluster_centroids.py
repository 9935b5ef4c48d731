"""Cluster centroids: the clusters are scikit-learn's, the rows imbalanced-learn's, the weights add up."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from class_clouds import data_of, table_of
from imblearn.under_sampling import ClusterCentroids as Theirs
from memory_engine import run
from sklearn.cluster import KMeans

from gpu_ops.cluster_centroids import _STREAM, ClusterCentroids
from operators.kernels.counter import mix64, uniform


def test_rows_are_imbalanced_learns() -> None:
    """Where no centre's nearest row is in another cluster, as in most data."""
    x, label = data_of(1, (60, 12), 2)
    order = np.argsort(uniform(7 ^ _STREAM, mix64(np.arange(len(x)).astype(np.uint64))))
    sampler = Theirs(voting="hard", estimator=KMeans(n_init=1, random_state=7, max_iter=100))
    rows, classes = sampler.fit_resample(x[order], label[order])
    found = run(ClusterCentroids(seed=7), table_of(x, label))
    kept = np.flatnonzero(found["drop"].combine_chunks().is_null())
    assert {tuple(x[i]) for i in kept} == {tuple(row) for row in rows}
    assert len(kept) == len(classes)


@pytest.mark.parametrize("fields", [{}, {"ratio": 0.5}, {"cap": {0: 5, "*": 3}}, {"cap": 0}])
def test_weights_of_a_class_add_up_to_its_rows(fields: dict[str, object]) -> None:
    x, label = data_of(2)
    found = run(ClusterCentroids(seed=1, **fields), table_of(x, label))
    weight = found["weight"].to_numpy(zero_copy_only=False)
    for one in range(3):
        total = np.nansum(weight[label == one])
        assert total in ((label == one).sum(), 0 if fields == {"cap": 0} else np.nan)
    assert (np.isnan(weight) == found["drop"].is_valid().to_numpy()).all()


def test_copies_fill_the_budget() -> None:
    x = np.array([[0.0], [0.0], [0.0], [0.0], [9.0], [5.0], [5.0], [5.0]])
    found = run(ClusterCentroids(seed=1), table_of(x, [0] * 5 + [1] * 3))
    weight = found["weight"].to_numpy(zero_copy_only=False)
    assert found["drop"].null_count == 6
    assert np.nansum(weight[:5]) == 5
    assert weight[4] == 1
    assert np.nanmin(weight) >= 1


@pytest.mark.parametrize("cut", [[1], [0, 0, 3, 7, 7]])
def test_any_cut_gives_the_same(cut: list[int]) -> None:
    table = table_of(*data_of(3))
    assert run(ClusterCentroids(seed=1), table, cut=cut).equals(run(ClusterCentroids(seed=1), table))


def test_nothing_and_one_row() -> None:
    assert run(ClusterCentroids(), table_of(np.zeros((0, 2)), pa.array([], pa.int64()))).num_rows == 0
    assert run(ClusterCentroids(seed=1), table_of(np.zeros((1, 2)), [4]))["weight"].to_pylist() == [1.0]
