"""Edits are imbalanced-learn's, the cleaning rule and ties are brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
from class_clouds import data_of, kept_by, table_of, theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.under_sampling import AllKNN, EditedNearestNeighbours, RepeatedEditedNearestNeighbours
from memory_engine import run

from gpu_ops.edited_neighbours import EditedNeighbours

seeds = st.integers(0, 10**6)
some = settings(max_examples=15, deadline=None)


@some
@given(seeds, st.integers(1, 5), st.sampled_from([("all", "all"), ("most", "mode")]))
def test_one_edit_is_imbalanced_learns(seed: int, k: int, agree: Any) -> None:
    x, label = data_of(seed)
    ours = kept_by(EditedNeighbours(neighbours=k, agree=agree[0]), x, label)
    assert ours == theirs(EditedNearestNeighbours(n_neighbors=k, kind_sel=agree[1]), x, label)


@some
@given(seeds, st.integers(1, 4), st.sampled_from([("all", "all"), ("most", "mode")]), st.integers(1, 5))
def test_repeated_edits_are_imbalanced_learns(seed: int, k: int, agree: Any, rounds: int) -> None:
    x, label = data_of(seed, (70, 50, 9))
    how = {"n_neighbors": k, "kind_sel": agree[1], "sampling_strategy": [0, 1]}
    op = EditedNeighbours(variant="repeated", neighbours=k, agree=agree[0], rounds=rounds)
    assert kept_by(op, x, label) == theirs(RepeatedEditedNearestNeighbours(max_iter=rounds, **how), x, label)
    op = EditedNeighbours(variant="all_knn", neighbours=k, agree=agree[0])
    assert kept_by(op, x, label) == theirs(AllKNN(**how), x, label)


@some
@given(seeds, st.integers(1, 4))
def test_the_cleaning_rule_is_the_papers(seed: int, k: int) -> None:
    x, label = data_of(seed, (30, 12, 7))
    far = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(far, np.inf)
    near = np.argsort(far, axis=1)[:, :k]
    vote = np.array([np.argmax(np.bincount(label[row])) for row in near])
    first = {i for i in range(len(x)) if label[i] != 2 and vote[i] != label[i]}
    second = {j for i in np.flatnonzero((label == 2) & (vote != 2)) for j in near[i] if label[j] != 2}
    found = run(EditedNeighbours(variant="cleaning_rule", neighbours=k), table_of(x, label))
    reasons = found["drop"].to_pylist()
    assert {i for i, reason in enumerate(reasons) if reason == "edited"} == first
    assert {i for i, reason in enumerate(reasons) if reason == "beside_misclassified"} == second - first


def test_evidence_of_an_edit() -> None:
    x = np.array([[0.0], [1.0], [2.1], [2.2], [9.0]])
    found = run(EditedNeighbours(neighbours=2), table_of(x, [0, 0, 0, 1, 0]))
    assert found["opposed"].to_pylist() == [None, None, 3, None, 3]
    assert found["agreeing"].to_pylist() == [1.0, 1.0, 0.5, None, 0.5]
    assert found["round"].to_pylist() == [None, None, 1, None, 1]
    assert found["drop"].to_pylist() == [None, None, "edited", None, "edited"]


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 3), seeds)
@some
def test_edits_of_copies_are_brute_force(n: int, k: int, values: int, seed: int) -> None:
    """Small integers: many copies, and neighbours that are as near."""
    luck = np.random.default_rng(seed)
    x, label = luck.integers(0, values, (n, 2)).astype(float), luck.integers(0, 2, n)
    far = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(far, np.inf)
    near = np.argsort(far, axis=1, kind="stable")[:, : min(k, n - 1)]
    expected = [i for i in range(n) if (label[near[i]] == label[i]).all()]
    assert kept_by(EditedNeighbours(neighbours=k, classes="all"), x, label) == expected
