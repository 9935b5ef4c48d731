"""Discriminative active learning: against scikit-learn's logistic regression, step by step."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of, ranked
from memory_engine import run
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gpu_ops.discriminative import Discriminative, _sizes


@pytest.mark.parametrize("regularisation", [1.0, 20.0])
def test_every_step_takes_what_scikit_learn_takes_for_the_pool(regularisation: float) -> None:
    x = np.random.default_rng(4).normal(size=(150, 5)) * [1, 5, 1, 0.1, 1] + 7
    before = np.arange(150) % 15 == 0
    wide, mine, want = StandardScaler().fit_transform(x), before.copy(), []
    for size in (3, 4, 4):
        model = LogisticRegression(C=1 / regularisation, class_weight="balanced").fit(wide, mine)
        p = np.where(mine, -1, model.predict_proba(wide)[:, 0])
        step = np.argsort(-p, kind="stable")[:size].tolist()
        mine[step] = True
        want += step
    op = Discriminative(keep_rows=11, batches=3, labelled="b", regularisation=regularisation)
    found = run(op, pool_of(x, b=pa.array(before)))
    assert ranked(found) == want
    assert run(op, pool_of(x, b=pa.array(before)), cut=[10, 90]).equals(found)


def test_a_part_of_the_pool_that_nobody_has_labelled_comes_first() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 8))
    x[200:, 0] += 6
    before = np.arange(300) < 30
    chosen = ranked(run(Discriminative(keep_rows=20, labelled="b"), pool_of(x, b=pa.array(before))))
    assert min(chosen[:10]) >= 200  # later steps have them among the chosen


def test_without_any_the_first_is_the_one_nearest_to_the_mean() -> None:
    x = np.array([[0.0, 0], [10, 0], [5, 1], [0, 10], [10, 10]])
    assert ranked(run(Discriminative(keep_rows=1), pool_of(x))) == [2]
    assert sorted(ranked(run(Discriminative(keep_share=1.0, batches=2), pool_of(x)))) == list(range(5))
    assert run(Discriminative(keep_rows=2), pool_of(x[:0])).num_rows == 0
    same = run(Discriminative(keep_rows=3), pool_of(np.ones((6, 2))))
    assert ranked(same) == [0, 1, 2]


@pytest.mark.parametrize(("k", "batches"), [(0, 3), (1, 10), (11, 3), (10, 10), (100, 7)])
def test_steps_are_even(k: int, batches: int) -> None:
    sizes = _sizes(k, batches)
    assert sizes.sum() == k
    assert len(sizes) == min(k, batches)
    assert np.ptp(sizes) <= 1 if k else not len(sizes)
