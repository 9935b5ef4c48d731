"""TYROGUE: its three steps, one by one."""

from __future__ import annotations

import numpy as np
from choosing import pool_of, ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min

from gpu_ops.tyrogue import Tyrogue


def test_of_the_rows_nearest_to_the_centres_the_most_uncertain_are_chosen() -> None:
    rng = np.random.default_rng(0)
    places = rng.permutation(12) * 50.0
    x = np.stack([np.repeat(places, 20), np.zeros(240)], axis=1) + rng.normal(size=(240, 2))
    entropy = rng.random(240)
    oracle = KMeans(12, n_init=10, random_state=0).fit(x)
    nearest, _ = pairwise_distances_argmin_min(oracle.cluster_centers_, x)
    want = nearest[np.argsort(-entropy[nearest])][:4].tolist()
    found = run(Tyrogue(keep_rows=4, ratio=3, seed=1), pool_of(x, entropy=entropy))
    assert ranked(found) == want
    assert found["weight"].to_numpy()[want].tolist() == [20] * 4
    low = run(Tyrogue(keep_rows=4, seed=1, descending=False, score="m"), pool_of(x, m=1 - entropy))
    assert ranked(low) == want


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 5), candidates=st.integers(1, 40))
def test_candidates_are_random_rows_and_without_clusters_the_most_uncertain_win(
    seed: int, k: int, candidates: int
) -> None:
    rng = np.random.default_rng(seed)
    x, entropy = rng.normal(size=(30, 2)), rng.random(30)
    op = Tyrogue(keep_rows=k, candidates=candidates, ratio=100, seed=seed)
    chosen = ranked(run(op, pool_of(x, entropy=entropy)))
    assert len(chosen) == k
    assert (np.diff(entropy[chosen]) <= 0).all()
    if candidates >= 30:
        assert chosen == np.argsort(-entropy)[:k].tolist()
    more = ranked(run(Tyrogue(**{**dict(op), "candidates": None}), pool_of(x, entropy=entropy)))
    assert entropy[more].min() >= entropy[chosen].min()
