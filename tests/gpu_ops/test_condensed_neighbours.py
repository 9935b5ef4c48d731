"""Condensing is Hart's rule by brute force, and imbalanced-learn's where that is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from class_clouds import data_of, kept_by, table_of
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.under_sampling import CondensedNearestNeighbour, OneSidedSelection
from memory_engine import run
from sklearn.neighbors import KNeighborsClassifier

from gpu_ops.condensed_neighbours import _STREAM, CondensedNeighbours
from gpu_ops.kernels.thinning import Rows
from operators.kernels.counter import mix64

seeds = st.integers(0, 10**6)
some = settings(max_examples=12, deadline=None)


class First(np.random.RandomState):
    """Draws the first row of a class as its seed, as the operator does."""

    def randint(self, low: Any, high: Any = None, size: Any = None, dtype: Any = int) -> Any:
        return np.zeros(size, np.int64)


def in_order(x: np.ndarray, label: np.ndarray, seed: int) -> np.ndarray:
    """The rows in the order in which the operator tries them."""
    uid = np.arange(len(x))
    rows = Rows(uid, mix64(uid.astype(np.uint64)), x, label, np.zeros(0, "S1"), label)
    return rows.shuffled(seed ^ _STREAM)


def by_hand(x: np.ndarray, label: np.ndarray, order: np.ndarray, passes: int) -> list[int]:
    """Hart's rule, row by row, with distances that are computed anew."""
    rare = np.flatnonzero(label == 1)
    mine = [i for i in order if label[i] == 0]
    kept = mine[:1]
    for _ in range(passes):
        before = len(kept)
        for i in mine:
            own = min(((x[i] - x[j]) ** 2).sum() for j in kept)
            if i not in kept and min(((x[i] - x[j]) ** 2).sum() for j in rare) <= own:
                kept.append(i)
        if len(kept) == before:
            break
    return sorted([*kept, *rare])


@some
@given(seeds, st.integers(1, 60), st.integers(1, 12), st.sampled_from([1, 2, 99]), st.booleans())
def test_condensing_is_harts_rule(seed: int, common: int, rare: int, passes: int, copies: bool) -> None:
    x, label = data_of(seed, (common + rare, rare), 2)
    x = np.round(x) if copies else x
    ours = kept_by(CondensedNeighbours(seed=seed, passes=passes), x, label)
    assert ours == by_hand(x, label, in_order(x, label, seed), passes)


@some
@given(seeds)
def test_one_pass_is_imbalanced_learns_where_the_class_stands_first(seed: int) -> None:
    x, label = data_of(seed, (50, 12))
    order = in_order(x, label, seed)
    order = order[np.argsort(label[order], kind="stable")]
    sampler = CondensedNearestNeighbour(random_state=First())
    sampler.fit_resample(x[order], label[order])
    ours = kept_by(CondensedNeighbours(seed=seed, passes=1), x, label)
    assert ours == sorted(order[sampler.sample_indices_].tolist())


@some
@given(seeds)
def test_one_sided_selection_is_imbalanced_learns(seed: int) -> None:
    x, label = data_of(seed, (40, 25, 12))
    order = in_order(x, label, seed)
    sampler = OneSidedSelection(random_state=First())
    sampler.fit_resample(x[order], label[order])
    ours = kept_by(CondensedNeighbours(seed=seed, variant="one_sided"), x, label)
    assert ours == sorted(order[sampler.sample_indices_].tolist())


@pytest.mark.parametrize("block", [1, 7, 256])
def test_the_store_classifies_all_rows_whatever_the_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, label = data_of(8, (300, 80), 2)
    whole = kept_by(CondensedNeighbours(seed=1), x, label)
    monkeypatch.setattr("gpu_ops.kernels.condensing._BLOCK", block)
    kept = kept_by(CondensedNeighbours(seed=1), x, label)
    assert kept == whole
    assert len(kept) < len(x)
    assert (KNeighborsClassifier(1).fit(x[kept], label[kept]).predict(x) == label).all()


def test_imbalanced_learns_stores_may_misclassify() -> None:
    """Why it is no oracle for classes that do not stand first: a full pass by hand adds rows."""
    wrong = 0
    for seed in range(5):
        x, label = data_of(seed, (60, 15), 2)
        order = np.argsort(-label, kind="stable")
        sampler = CondensedNearestNeighbour(random_state=First())
        sampler.fit_resample(x[order], label[order])
        theirs = sorted(order[sampler.sample_indices_].tolist())
        wrong += theirs != by_hand(x, label, order, 1)
    assert wrong > 0


def test_evidence_is_the_nearest_row_of_the_store() -> None:
    x, label = data_of(2, (60, 15), 2)
    found = run(CondensedNeighbours(seed=4), table_of(x, label))
    kept = np.flatnonzero(found["drop"].combine_chunks().is_null())
    for i, near in enumerate(found["nearest"].to_pylist()):
        far = np.linalg.norm(x[kept] - x[i], axis=1)
        assert near is None if i in kept else near == kept[np.argmin(far)]


def test_copies_in_both_classes_stay() -> None:
    x = np.zeros((6, 2))
    found = run(CondensedNeighbours(seed=1), table_of(x, [0, 0, 0, 0, 1, 1]))
    assert found["drop"].to_pylist() == [None] * 6
    found = run(CondensedNeighbours(seed=1, variant="one_sided"), table_of(x, [0, 0, 0, 0, 1, 1]))
    assert set(found["drop"].to_pylist()) <= {None, "tomek_link"}


@pytest.mark.parametrize("cut", [[1], [0, 0, 3, 7, 7]])
def test_any_cut_gives_the_same(cut: list[int]) -> None:
    table = table_of(*data_of(3))
    assert run(CondensedNeighbours(seed=1), table, cut=cut).equals(run(CondensedNeighbours(seed=1), table))


def test_nothing_and_one_row() -> None:
    empty = table_of(np.zeros((0, 2)), pa.array([], pa.int64()))
    assert run(CondensedNeighbours(seed=1), empty).num_rows == 0
    one = table_of(np.zeros((1, 2)), [4])
    assert run(CondensedNeighbours(seed=1, classes="all"), one)["drop"].to_pylist() == [None]
