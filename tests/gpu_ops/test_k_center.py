"""k-center as an operator: its radius against the best one by brute force, and what all selectors share."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of, ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError

from gpu_ops.k_center import KCenter
from operators.kernels.mixing import fill, tempered


def radius(x: np.ndarray, chosen: list[int]) -> float:
    return float(np.linalg.norm(x[:, None] - x[chosen], axis=2).min(axis=1).max())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(1, 3))
def test_the_radius_is_at_most_twice_the_best(seed: int, n: int, k: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 2))
    found = run(KCenter(keep_rows=k), pool_of(x))
    chosen = ranked(found)
    best = min(radius(x, list(some)) for some in combinations(range(n), k))
    assert len(chosen) == k
    assert radius(x, chosen) <= 2 * best + 1e-6
    assert found["weight"].to_numpy()[chosen].sum() == n
    assert found["drop"].null_count == k


def test_the_choice_goes_on_from_what_was_chosen_before() -> None:
    x = np.array([[0.0, 0], [1, 0], [9, 0], [10, 0]])
    found = run(KCenter(keep_rows=1, labelled="label"), pool_of(x, label=pa.array([None, None, None, "a"])))
    assert found["rank"].to_pylist() == [0, None, None, None]
    assert found["drop"].to_pylist() == [None, "not_selected", "not_selected", None]
    marks = pa.array([True, False, None, False])
    found = run(KCenter(keep_rows=2, labelled="label"), pool_of(x, label=marks))
    assert found["rank"].to_pylist() == [None, 1, None, 0]


def test_groups_share_the_budget_by_their_rows() -> None:
    x = np.random.default_rng(0).normal(size=(90, 3))
    groups = np.repeat([5, 7], [60, 30])
    found = run(KCenter(keep_rows=9, group="part"), pool_of(x, part=groups))
    chosen = ranked(found)
    assert np.bincount(groups[chosen])[[5, 7]].tolist() == [6, 3]
    alone = ranked(run(KCenter(keep_rows=6), pool_of(x[:60])))
    assert [row for row in chosen if row < 60] == alone


@given(st.integers(0, 50), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_shares_add_up_and_are_within_one_of_exact(k: int, sizes: list[int]) -> None:
    k = min(k, sum(sizes))
    parts = fill(k, np.array(sizes), tempered(np.array(sizes), 1))
    assert parts.sum() == k
    assert (parts <= sizes).all()
    assert (np.abs(parts - k * np.array(sizes) / max(sum(sizes), 1)) < 1).all()


def test_copies_fill_the_budget_and_rows_without_a_vector_are_told_apart() -> None:
    vectors = pa.array([[1.0, 1.0], None, [1.0, 1.0], [float("nan"), 0.0], [1.0, 1.0]])
    found = run(KCenter(keep_rows=2), pa.table({"embedding": vectors}))
    assert ranked(found) == [0, 2]
    assert found["drop"].to_pylist() == [None, "not_comparable", None, "not_comparable", "not_selected"]


@pytest.mark.parametrize("cut", [None, [1], [0, 0, 3, 7, 7]])
def test_any_cut_and_any_order_of_batches_gives_the_same(cut: list[int] | None) -> None:
    x = np.random.default_rng(3).normal(size=(50, 4))
    one = run(KCenter(keep_share=0.29, mark=True), pool_of(x))
    assert run(KCenter(keep_share=0.29, mark=True), pool_of(x), cut=cut).equals(one)
    assert len(ranked(one)) == 14
    assert one.column_names == ["rank", "weight"]


def test_vectors_beyond_the_memory_are_read_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(4).normal(size=(300, 8))
    expected = run(KCenter(keep_rows=20, group="part"), pool_of(x, part=np.arange(300) % 2))
    monkeypatch.setattr("gpu_ops.kernels.pool.IN_MEMORY", 4000)
    found = run(KCenter(keep_rows=20, group="part"), pool_of(x, part=np.arange(300) % 2), batch_rows=37)
    assert found.equals(expected)


def test_one_budget_is_asked_for() -> None:
    with pytest.raises(ValidationError, match="one of keep_rows and keep_share"):
        KCenter()
    with pytest.raises(ValidationError, match="one of keep_rows and keep_share"):
        KCenter(keep_rows=1, keep_share=0.5)


def test_nothing_to_choose_from() -> None:
    empty = pool_of(np.zeros((0, 3)))
    assert run(KCenter(keep_rows=3), empty).num_rows == 0
    one = run(KCenter(keep_rows=3), pool_of(np.ones((1, 3))))
    assert one["rank"].to_pylist() == [0]


def test_float16_embeddings_stay_float16_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(5).normal(size=(300, 8)).astype(np.float16)
    x[7, 3] = np.inf
    halves = pa.table({"embedding": pa.array(list(x), pa.list_(pa.float16()))})
    expected = run(KCenter(keep_rows=20), pool_of(x))
    assert run(KCenter(keep_rows=20), halves).equals(expected)
    monkeypatch.setattr("gpu_ops.kernels.pool.IN_MEMORY", 4000)
    assert run(KCenter(keep_rows=20), halves, batch_rows=37).equals(expected)
