"""Pruning by prototypes: distances by numpy, the kept rows by sorting, and what the run is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError
from sklearn.cluster import KMeans

from gpu_ops.prototype_distance import PrototypeDistance
from gpu_ops.prune_prototypes import PrunePrototypes


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.lists(st.integers(0, 40), max_size=4))
def test_the_distance_is_that_from_the_mean_direction_of_the_class(seed: int, cut: list[int]) -> None:
    rng = np.random.default_rng(seed)
    x, label = rng.normal(size=(40, 5)), rng.integers(0, 4, 40)
    table = pool_of(x, label=label)
    found = run(PrototypeDistance(), table, cut=sorted(cut))
    means = np.array([unit(x)[label == label[i]].mean(axis=0) for i in range(40)])
    want = 1 - (unit(x) * unit(means)).sum(axis=1)
    np.testing.assert_allclose(found["distance"].to_numpy(), want, atol=1e-3)
    assert run(PrototypeDistance(), table).equals(found)


def test_rows_without_a_label_or_a_direction_have_no_distance() -> None:
    x = [[1.0, 0.0], [0.0, 0.0], None, [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]
    labels = ["a", "a", "a", None, "b", "b"]
    table = pa.table({"embedding": pa.array(x, pa.list_(pa.float64())), "label": labels})
    assert run(PrototypeDistance(), table, 2)["distance"].to_pylist() == [0.0, *[None] * 5]
    assert run(PrototypeDistance(), table.slice(1, 3))["distance"].null_count == 3
    assert run(PrototypeDistance(), table.slice(0, 0)).num_rows == 0
    two = pa.table({"embedding": pa.array([[1.0], [1.0, 2.0]]), "label": [1, 1]})
    with pytest.raises(ValueError, match="1 numbers at uid 0, but 2 at uid 1"):
        run(PrototypeDistance(), two, 1)


@pytest.mark.parametrize("keep", ["easy", "hard"])
def test_the_kept_rows_are_nearest_to_or_farthest_from_the_centres(keep: Any) -> None:
    rng = np.random.default_rng(2)
    x = unit(np.repeat(np.eye(6), 40, axis=0) + rng.normal(size=(240, 6)) * 0.15)
    oracle = KMeans(6, n_init=5, random_state=0).fit(x)
    near = (x * unit(oracle.cluster_centers_)[oracle.labels_]).sum(axis=1)
    found = run(PrunePrototypes(keep=keep, keep_share=0.25, clusters=6, seed=1), pool_of(x))
    kept = np.flatnonzero(found["drop"].combine_chunks().is_null())
    order = np.argsort(near if keep == "hard" else -near)
    assert len(kept) == 60
    assert len(set(kept) & set(order[:60].tolist())) >= 58  # one grid, one rounding apart
    label = np.repeat(np.arange(6), 40)
    op = PrunePrototypes(keep=keep, keep_rows=10, label="label", group="label")
    own = run(op, pool_of(x, label=label))["drop"].combine_chunks().is_null()
    assert np.bincount(label[np.asarray(own)]).tolist() == [10] * 6


def test_the_plan_says_when_that_is_right_and_fields_must_make_sense() -> None:
    assert "many rows" in PrunePrototypes(keep="hard", keep_rows=1).explain()
    assert "few rows" in PrunePrototypes(keep="easy", keep_rows=1).explain()
    with pytest.raises(ValidationError, match="give one of keep_rows"):
        PrunePrototypes(keep="hard")
    with pytest.raises(ValidationError, match="prototypes are of one"):
        PrunePrototypes(keep="hard", keep_rows=1, label="label", clusters=3)
