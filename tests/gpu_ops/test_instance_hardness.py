"""Out-of-fold probabilities are scikit-learn's, the choice by them imbalanced-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from class_clouds import data_of, table_of
from imblearn.under_sampling import InstanceHardnessThreshold
from memory_engine import run
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpu_ops.instance_hardness import _STREAM, InstanceHardness
from operators.kernels.counter import mix64, uniform


def folds(label: np.ndarray, seed: int, number: int) -> np.ndarray:
    """(n,) in turn, class by class, in a random order by key."""
    luck = uniform(seed ^ _STREAM, mix64(np.arange(len(label)).astype(np.uint64)))
    fold = np.zeros(len(label), np.int64)
    for one in np.unique(label):
        mine = np.flatnonzero(label == one)
        fold[mine[np.argsort(luck[mine])]] = np.arange(len(mine)) % number
    return fold


def test_probabilities_are_those_of_cross_validation() -> None:
    x, label = data_of(1)
    found = run(InstanceHardness(seed=5, folds=4), table_of(x, label))["p_label"].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-6))
    split = PredefinedSplit(folds(label, 5, 4))
    theirs = cross_val_predict(model, x, label, cv=split, method="predict_proba")
    np.testing.assert_allclose(found, theirs[np.arange(len(label)), label], atol=1e-4)


def test_a_forest_that_sees_the_same_rows_says_the_same() -> None:
    x, label = data_of(2, (30, 8))
    found = run(InstanceHardness(seed=5, folds=2, estimator="forest"), table_of(x, label))
    luck = uniform(5 ^ _STREAM, mix64(np.arange(len(label)).astype(np.uint64)))
    order, fold = np.argsort(luck), folds(label, 5, 2)
    train = order[fold[order] == 1]
    model = RandomForestClassifier(random_state=5).fit(x[train], label[train])
    held = np.flatnonzero(fold == 0)
    expected = model.predict_proba(x[held])[np.arange(len(held)), label[held]]
    np.testing.assert_allclose(found["p_label"].to_numpy()[held], expected)


@pytest.mark.parametrize("wanted", [{0: 11, 1: 11}, {0: 30, 1: 20}, {0: 1, 1: 23}])
def test_the_choice_is_imbalanced_learns(wanted: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x, label = data_of(3)
    found = run(InstanceHardness(seed=1, cap={**wanted}), table_of(x, label))
    p = np.zeros((len(label), 3))
    p[np.arange(len(label)), label] = found["p_label"].to_numpy()

    def known(*arguments: Any, **more: Any) -> np.ndarray:
        return p

    module = "imblearn.under_sampling._prototype_selection._instance_hardness_threshold"
    monkeypatch.setattr(f"{module}.cross_val_predict", known)
    theirs = InstanceHardnessThreshold(sampling_strategy=wanted, estimator=LogisticRegression())
    theirs.fit_resample(x, label)
    kept = np.flatnonzero(found["drop"].combine_chunks().is_null())
    assert kept.tolist() == sorted(theirs.sample_indices_.tolist())


@pytest.mark.parametrize("cut", [[1], [0, 0, 3, 7, 7]])
def test_any_cut_gives_the_same(cut: list[int]) -> None:
    table = table_of(*data_of(3))
    assert run(InstanceHardness(seed=1), table, cut=cut).equals(run(InstanceHardness(seed=1), table))


def test_few_rows() -> None:
    assert run(InstanceHardness(), table_of(np.zeros((0, 2)), pa.array([], pa.int64()))).num_rows == 0
    one = run(InstanceHardness(seed=1), table_of(np.zeros((1, 2)), [4]))
    assert one["drop"].to_pylist() == [None]
    assert one["p_label"].to_pylist() == [None]
    three = run(InstanceHardness(seed=1, estimator="forest"), table_of(np.eye(3), ["a", "b", "b"]))
    assert three["p_label"].to_pylist()[0] == 0.0
    assert three["drop"].null_count == 2
