"""NearMiss is imbalanced-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from class_clouds import data_of, kept_by, table_of, theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.under_sampling import NearMiss as Theirs
from memory_engine import run

from gpu_ops.near_miss import NearMiss

seeds = st.integers(0, 10**6)
some = settings(max_examples=15, deadline=None)


@some
@given(seeds, st.sampled_from([1, 2]), st.integers(1, 5))
def test_near_miss_1_and_2_are_imbalanced_learns(seed: int, variant: Any, k: int) -> None:
    x, label = data_of(seed)
    ours = kept_by(NearMiss(variant=variant, neighbours=k), x, label)
    assert ours == theirs(Theirs(version=variant, n_neighbors=k), x, label)
    wanted = {0: 20, 1: 15}
    ours = kept_by(NearMiss(variant=variant, neighbours=k, cap={0: 20, "*": 15}), x, label)
    assert ours == theirs(Theirs(version=variant, n_neighbors=k, sampling_strategy=wanted), x, label)


@some
@given(seeds, st.integers(1, 4), st.integers(3, 6))
def test_near_miss_3_is_imbalanced_learns(seed: int, k: int, shortlist: int) -> None:
    x, label = data_of(seed, (60, 9))
    sampler = Theirs(version=3, n_neighbors=k, n_neighbors_ver3=shortlist, sampling_strategy={0: 7})
    op = NearMiss(variant=3, neighbours=k, shortlist=shortlist, cap=7)
    assert kept_by(op, x, label) == theirs(sampler, x, label)


def test_near_miss_3_keeps_a_short_shortlist_whole() -> None:
    x = np.array([[0.0], [0.1], [5.0], [6.0], [7.0]])
    found = run(NearMiss(variant=3, shortlist=1, cap=3), table_of(x, [1, 0, 0, 0, 0]))
    assert found["drop"].to_pylist() == [None, None, "not_near", "not_near", "not_near"]
    assert found["distance"].to_pylist() == [None, pytest.approx(0.1), None, None, None]
