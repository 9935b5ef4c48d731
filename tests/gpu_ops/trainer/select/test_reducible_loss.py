"""Reducible losses: the largest gaps, or draws in proportion to them with annealed weights."""

from __future__ import annotations

import numpy as np
import pytest
from selecting import again, rows_of

from gpu_ops.trainer.select.reducible_loss import ReducibleLoss
from gpu_ops.trainer.select.selector import Scores

LOSS = np.array([3.0, 1.0, 5.0, 2.0, 0.5, 4.0])
REFERENCE = np.array([2.9, 0.2, 4.9, 0.5, 0.6, 0.5])  # gaps .1 .8 .1 1.5 -.1 3.5


def test_the_largest_gaps_are_taken_not_the_largest_losses() -> None:
    selector = ReducibleLoss(0, True, 0.6, 0.4, 10, None)
    assert selector.wants(rows_of(6)) == {"loss", "reference"}
    found = selector.choose(rows_of(6), Scores(loss=LOSS, reference=REFERENCE), 3, 0)
    assert found.index.tolist() == [1, 3, 5]
    capped = ReducibleLoss(0, True, 0.6, 0.4, 10, 60)
    found = capped.choose(rows_of(6), Scores(loss=LOSS, reference=REFERENCE), 6, 0)
    assert found.index.tolist() == [0, 1, 3, 4]


def test_draws_are_in_proportion_and_weights_anneal() -> None:
    selector, scores = ReducibleLoss(0, False, 1.0, 0.4, 11, None), Scores(loss=LOSS, reference=REFERENCE)
    counts = np.zeros(6)
    for number in range(6000):
        counts += np.bincount(selector.choose(rows_of(6), scores, 1, number).index, minlength=6)
    want = np.maximum(LOSS - REFERENCE, 0)
    assert counts / 6000 == pytest.approx(want / want.sum(), abs=0.02)
    for _ in range(10):
        selector.learn(rows_of(1), Scores())
    found = again(selector, ReducibleLoss(0, False, 1.0, 0.4, 11, None)).choose(rows_of(6), scores, 40, 9)
    assert found.told["beta"] == 1
    assert found.weight.max() == 1
    assert found.weight * want[found.index] == pytest.approx((found.weight * want[found.index])[0], rel=1e-4)
