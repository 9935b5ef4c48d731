"""Sampling by the loss: unbiased at k = 1, weights as in the authors' code, a history by row."""

from __future__ import annotations

import numpy as np
import pytest
from selecting import again, losses, rows_of

from gpu_ops.trainer.select.biased_loss import BiasedLoss, rescaled
from gpu_ops.trainer.select.selector import Scores


def test_at_one_the_mean_over_draws_is_the_full_gradient() -> None:
    scores, gradient = losses(0, 10), np.random.default_rng(1).normal(size=10)
    selector, batch = BiasedLoss(2, 1.0, 0.1, False, None), rows_of(10)
    got = []
    for number in range(20_000):
        found = selector.choose(batch, scores, 3, number)
        got.append((found.weight * gradient[found.index]).sum() / found.targets.sum())
    assert abs(np.mean(got) - gradient.mean()) < 3 * np.std(got) / np.sqrt(len(got))


@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.0])
def test_weights_keep_the_weighted_sum_of_the_scores(exponent) -> None:
    p = np.array([0.2, 0.05, 0.4])
    score = p * 7
    unbiased = score.sum() / p.sum() / 8 / score
    weight = rescaled(p, 8, exponent)
    assert weight @ score == pytest.approx(unbiased @ score)
    assert weight / weight[0] == pytest.approx((p[0] / p) ** exponent)


def test_a_history_costs_nothing_and_unknown_rows_count_as_the_mean() -> None:
    selector = BiasedLoss(2, 0.0, 0.0, True, None)
    assert selector.wants(rows_of(4)) == frozenset()
    selector.learn(rows_of(2), Scores(loss=np.array([0.0, 4.0])))
    counts = np.zeros(4)
    for number in range(6000):
        counts += np.bincount(selector.choose(rows_of(4), Scores(), 1, number).index, minlength=4)
    assert counts[0] == 0
    assert counts[1:] / 6000 == pytest.approx([4 / 8, 2 / 8, 2 / 8], abs=0.02)
    two = again(selector, BiasedLoss(2, 0.0, 0.0, True, None))
    assert two.choose(rows_of(4), Scores(), 9, 1).index.tolist() == (
        selector.choose(rows_of(4), Scores(), 9, 1).index.tolist()
    )


def test_a_cap_leaves_out_the_largest_losses() -> None:
    scores, selector = losses(4, 20), BiasedLoss(2, 0.5, 0.0, False, 80)
    drawn = np.concatenate([selector.choose(rows_of(20), scores, 5, n).index for n in range(200)])
    assert scores.loss[drawn].max() <= np.quantile(scores.loss, 0.8)
