"""Selective backprop keeps as many rows as its probabilities say, and reuses losses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from selecting import again, losses, rows_of

from gpu_ops.trainer.select.selective_backprop import SelectiveBackprop
from gpu_ops.trainer.select.selector import Scores


@pytest.mark.parametrize("beta", [1.0, 2.0, 4.0])
def test_as_many_rows_are_kept_as_the_power_says(beta) -> None:
    selector = SelectiveBackprop(5, beta, 1024, 1, None)
    for number in range(20):
        selector.choose(rows_of(64), losses(number, 64), 64, number)
    kept = sum(
        len(selector.choose(rows_of(64), losses(number, 64), 64, number).index) for number in range(20, 220)
    )
    assert binomtest(kept, 200 * 64, 1 / (1 + beta)).pvalue > 1e-3


def test_large_losses_are_kept_more_often() -> None:
    selector = SelectiveBackprop(5, 2.0, 1024, 1, None)
    kept = np.zeros(50)
    for number in range(400):
        kept[selector.choose(rows_of(50), Scores(loss=np.arange(50.0)), 50, number).index] += 1
    want = 400 * (np.arange(50) / 50 + 0.01) ** 2
    assert np.abs(kept - want).max() < 4 * np.sqrt(400 / 4)


def test_losses_that_are_all_equal_are_kept_by_half() -> None:
    selector = SelectiveBackprop(5, 1.0, 1024, 1, None)
    kept = [len(selector.choose(rows_of(50), Scores(loss=np.ones(50)), 50, n).index) for n in range(200)]
    assert np.mean(kept) == pytest.approx(25, abs=1.5)


def test_a_loss_serves_for_as_many_visits_as_it_may() -> None:
    selector = SelectiveBackprop(5, 1.0, 64, 3, None)
    asked = []
    for number in range(8):
        asked.append(bool(selector.wants(rows_of(4))))
        scores = losses(number, 4) if asked[-1] else Scores()
        selector = again(selector, SelectiveBackprop(5, 1.0, 64, 3, None))
        selector.choose(rows_of(4), scores, 4, number)
    assert asked == [True, False, False, True, False, False, True, False]


def test_a_cap_keeps_the_largest_out() -> None:
    selector = SelectiveBackprop(5, 0.01, 1000, 1, 90)
    for number in range(20):
        scores = losses(number, 50)
        found = selector.choose(rows_of(50), scores, 50, number)
        assert len(found.index) > 30
    assert scores.loss[found.index].max() < 3.0 < scores.loss.max()
