"""Representative sampling: k-means of the rows near the boundary, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of
from memory_engine import run
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.svm import LinearSVC

from gpu_ops.representative import Representative


def chosen_of(found: pa.Table) -> list[int]:
    return np.flatnonzero(found["rank"].combine_chunks().is_valid()).tolist()


def test_it_clusters_the_rows_inside_the_margin_of_a_support_vector_machine() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 2)) * 0.3
    x[:, 1] += rng.integers(0, 4, 400) * 8
    label = x[:, 0] > 0
    far = LinearSVC(C=0.1).fit(x, label).decision_function(x)
    inside = np.flatnonzero(np.abs(far) <= 1)
    assert 50 < len(inside) < 400
    oracle = KMeans(4, n_init=10, random_state=0).fit(x[inside])
    nearest, _ = pairwise_distances_argmin_min(oracle.cluster_centers_, x[inside])
    found = run(Representative(keep_rows=4, within=1, margin="far", seed=2), pool_of(x, far=far))
    assert chosen_of(found) == sorted(inside[nearest].tolist())
    assert found["weight"].drop_null().to_numpy().sum() == len(inside)


@pytest.mark.parametrize(("k", "chosen"), [(1, [0]), (2, [0, 3]), (3, [0, 1, 3])])
def test_where_few_rows_are_within_the_smallest_margins_are_taken(k: int, chosen: list[int]) -> None:
    margin = pa.array([0.1, 0.7, 0.9, -0.6, None])
    found = run(Representative(keep_rows=k), pool_of(np.eye(5), margin=margin))
    assert chosen_of(found) == chosen
    assert found["drop"][4].as_py() == "not_comparable"
