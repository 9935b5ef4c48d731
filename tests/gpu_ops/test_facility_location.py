"""Facility location against the best choice by brute force, and against apricot's plain greedy rule."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of, ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from gpu_ops.facility_location import FacilityLocation, _bound
from gpu_ops.kernels.graph import Voters, all_pairs, voters
from gpu_ops.kernels.lazy import State

SHARE = 1 - 1 / np.e


def similarity(x: np.ndarray, neighbours: int | None) -> np.ndarray:
    """s[v, u]: how much u can stand for v."""
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    s = np.maximum(units @ units.T, 0)
    np.fill_diagonal(s, 1)
    if neighbours is not None:
        for v, row in enumerate(s):
            others = np.delete(np.arange(len(x)), v)
            far = others[np.argsort(-row[others], kind="stable")[neighbours:]]
            row[far] = 0
    return s


def value(s: np.ndarray, chosen: list[int]) -> float:
    return float(s[:, chosen].max(axis=1).sum())


def plain_greedy(s: np.ndarray, k: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(k):
        rest = [u for u in range(len(s)) if u not in chosen]
        chosen.append(max(rest, key=lambda u: value(s, [*chosen, u])))
    return chosen


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(1, 4), st.sampled_from([None, 3]))
def test_the_sum_is_at_least_the_guaranteed_share_of_the_best(
    seed: int, n: int, k: int, near: int | None
) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    s = similarity(x.astype(float), near)
    op = FacilityLocation(keep_rows=k, neighbours=near)
    chosen = ranked(run(op, pool_of(x)))
    best = max(value(s, list(some)) for some in combinations(range(n), k))
    assert len(set(chosen)) == k
    assert SHARE * best - 1e-5 <= value(s, chosen) <= best + 1e-5
    assert value(s, chosen) == pytest.approx(value(s, plain_greedy(s, k)), abs=1e-5)
    graph = all_pairs(x) if near is None else voters(x, near, own=True)
    assert _bound(graph, np.zeros(n, bool), np.array(chosen)) >= best - 1e-5


def test_a_sample_of_the_rows_reaches_the_share_on_average() -> None:
    epsilon = 0.2
    shares = []
    for seed in range(40):
        x = np.random.default_rng(seed).normal(size=(12, 3)).astype(np.float32)
        s = similarity(x.astype(float), None)
        op = FacilityLocation(keep_rows=3, neighbours=None, epsilon=epsilon, seed=seed)
        best = max(value(s, list(some)) for some in combinations(range(12), 3))
        shares.append(value(s, ranked(run(op, pool_of(x)))) / best)
    assert np.mean(shares) >= SHARE - epsilon
    assert min(shares) < 1


def test_lazy_and_plain_greedy_choose_the_same_rows() -> None:
    x = np.random.default_rng(5).normal(size=(150, 8)).astype(np.float32)
    for near in (None, 12):
        found = run(FacilityLocation(keep_rows=25, neighbours=near), pool_of(x))
        assert ranked(found) == plain_greedy(similarity(x.astype(float), near), 25)


def test_weights_are_the_rows_that_each_stands_for() -> None:
    x = np.random.default_rng(6).normal(size=(80, 3)).astype(np.float32)
    found = run(FacilityLocation(keep_rows=9, neighbours=None), pool_of(x))
    s = similarity(x.astype(float), None)
    chosen = ranked(found)
    want = np.bincount(s[:, chosen].argmax(axis=1), minlength=9)
    assert found["weight"].to_numpy(zero_copy_only=False)[chosen].tolist() == want.tolist()


def test_rows_chosen_before_stand_for_their_surroundings() -> None:
    x = np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1.0]])
    label = pa.array([None, "a", None, None])
    found = run(FacilityLocation(keep_rows=1, labelled="label", neighbours=None), pool_of(x, label=label))
    assert ranked(found) == [3]
    assert found["drop"].to_pylist() == ["not_selected", None, "not_selected", None]


def test_the_samples_are_a_function_of_seed_and_key() -> None:
    x = np.random.default_rng(7).normal(size=(60, 4)).astype(np.float32)
    op = FacilityLocation(keep_rows=10, epsilon=0.5, seed=3)
    other = FacilityLocation(keep_rows=10, epsilon=0.5, seed=4)
    assert ranked(run(op, pool_of(x), batch_rows=7)) == ranked(run(op, pool_of(x)))
    assert ranked(run(op, pool_of(x))) != ranked(run(other, pool_of(x)))


def test_the_run_tells_the_share_of_the_bound() -> None:
    op = FacilityLocation(keep_rows=3)
    one = {"objective": np.array([90.0]), "bound": np.array([100.0]), "rows": np.array([120])}
    assert "0.7500 on average, 90.0% of what" in op.tell(one)
    assert op.tell({}) == "no row was chosen"


def test_all_pairs_of_many_rows_are_refused() -> None:
    big = pool_of(np.zeros((16_385, 1)))
    with pytest.raises(ValueError, match="give neighbours"):
        run(FacilityLocation(keep_rows=1, neighbours=None), big, batch_rows=20_000)


@pytest.mark.parametrize("near", [None, 2])
def test_vectors_without_a_direction_and_single_rows(near: int | None) -> None:
    op = FacilityLocation(keep_rows=2, neighbours=near)
    assert ranked(run(op, pool_of(np.zeros((4, 2))))) == [0, 1]
    assert run(op, pool_of(np.ones((1, 2))))["weight"].to_pylist() == [1.0]
    assert run(op, pool_of(np.zeros((0, 2)))).num_rows == 0


def test_gains_never_grow() -> None:
    x = np.random.default_rng(8).normal(size=(40, 3)).astype(np.float32)
    graph: Voters = all_pairs(x)
    state = State.of_covering(graph, np.zeros(40, bool))
    before = state.gains(np.arange(40))
    for one in (3, 17, 30):
        state.take(np.array([one]))
        after = state.gains(np.arange(40))
        assert (after <= before).all()
        before = after
