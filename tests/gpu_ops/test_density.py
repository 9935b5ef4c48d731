"""Densities against scikit-learn's neighbours, and the guard that goes by them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.neighbors import NearestNeighbors

from gpu_ops.density import Density


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 12), st.sampled_from(["cosine", "l2"]))
def test_densities_are_means_over_the_nearest(
    seed: int, n: int, k: int, metric: Literal["cosine", "l2"]
) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    found = run(Density(neighbours=k, metric=metric), pool_of(x))
    count = min(k, n - 1)
    near = NearestNeighbors(n_neighbors=count, metric="euclidean" if metric == "l2" else "cosine")
    far = near.fit(x.astype(float)).kneighbors()[0]
    like = 1 / (1 + far) if metric == "l2" else 1 - far
    np.testing.assert_allclose(found["density"].to_numpy(), like.sum(axis=1) / k, atol=1e-9)
    assert found.column_names == ["density"]


def test_groups_do_not_see_each_other() -> None:
    x = np.random.default_rng(1).normal(size=(50, 4))
    part = np.arange(50) % 3
    found = run(Density(neighbours=4, group="part"), pool_of(x, part=part))["density"].to_numpy()
    for one in range(3):
        alone = run(Density(neighbours=4), pool_of(x[part == one]))["density"].to_numpy()
        assert found[part == one].tolist() == alone.tolist()


def test_the_planted_outliers_go() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=(95, 3)) * 0.1 + [5, 0, 0], rng.normal(size=(5, 3)) * 50])
    op = Density(metric="l2", outlier=0.05)
    found = run(op, pool_of(x))
    assert np.flatnonzero(found["drop"].combine_chunks().is_valid()).tolist() == list(range(95, 100))
    assert set(found["drop"].to_pylist()) == {None, "outlier"}
    density = found["density"].to_numpy()
    told = op.tell({"uid": np.arange(100), "density": density, "outlier": np.arange(100) >= 95})
    assert told.endswith(f"outliers are below {density[95:].max():.3f}")


def test_rows_without_an_embedding_have_null_and_stay() -> None:
    vectors = pa.array([[1.0, 1.0], None, [1.0, 1.0], [float("nan"), 0.0], [0.0, 0.0]])
    found = run(Density(neighbours=1, outlier=0.4), pa.table({"embedding": vectors}))
    assert found["density"].to_pylist() == pytest.approx([1, None, 1, None, 0])
    assert found["drop"].to_pylist() == [None, None, None, None, "outlier"]


def test_one_row_and_none() -> None:
    op = Density(outlier=0.5)
    assert run(op, pool_of(np.ones((1, 3))))["density"].to_pylist() == [0.0]
    assert run(op, pool_of(np.zeros((0, 3)))).num_rows == 0
    assert op.tell({"density": np.zeros(0), "outlier": np.zeros(0, bool)}) == "no row has an embedding"


@pytest.mark.parametrize("cut", [[1], [0, 0, 7, 20]])
def test_any_cut_gives_the_same(cut: list[int]) -> None:
    table = pool_of(np.random.default_rng(3).normal(size=(40, 3)), part=["a", "b"] * 20)
    op = Density(group="part", outlier=0.1)
    assert run(op, table, cut=cut).equals(run(op, table))
