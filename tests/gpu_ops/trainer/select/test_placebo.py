"""A placebo chooses as often, and by nothing."""

from __future__ import annotations

import numpy as np
from selecting import again, rows_of

from gpu_ops.trainer.select.placebo import Placebo
from gpu_ops.trainer.select.reducible_loss import ReducibleLoss
from gpu_ops.trainer.select.selector import Scores
from gpu_ops.trainer.select.self_paced import SelfPaced


def test_every_row_is_chosen_alike() -> None:
    selector = Placebo(3, ReducibleLoss(3, True, 0.6, 0.4, 10, None))
    assert selector.wants(rows_of(4)) == {"loss", "reference"}
    counts = np.zeros(8)
    for number in range(2000):
        scores = Scores(loss=np.arange(8.0), reference=np.zeros(8))
        found = selector.choose(rows_of(8), scores, 2, number)
        counts[found.index] += 1
        assert len(found.index) == 2
    assert np.abs(counts - 500).max() < 4 * np.sqrt(2000 * 0.25 * 0.75)


def test_weights_by_own_losses_are_dealt_too() -> None:
    def fresh() -> Placebo:
        return Placebo(3, SelfPaced(0.5, 0.5, 0, 0, 1.0, "hard", True, 100, False))

    selector = fresh()
    selector.learn(rows_of(8), Scores(loss=np.arange(8.0)))
    counts = np.zeros(8)
    for number in range(1000):
        weigh = again(selector, fresh()).choose(rows_of(8), Scores(), 8, number).weigh
        weight = weigh(np.arange(8.0))
        assert weight.sum() == 4
        counts += weight
    assert np.abs(counts - 500).max() < 4 * np.sqrt(250)
