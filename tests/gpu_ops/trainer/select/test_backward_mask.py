"""Which targets stay under each rule."""

from __future__ import annotations

import numpy as np
import pytest
from selecting import rows_of

from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.select.backward_mask import BackwardMask
from gpu_ops.trainer.select.selector import Scores


def test_a_share_of_the_targets_stays_at_random() -> None:
    batch = rows_of(8, tokens=10)
    batch = Batch(batch.inputs, np.where(batch.inputs % 5 == 0, IGNORED, batch.targets), batch.rows)
    known, counts = batch.targets != IGNORED, np.zeros(batch.targets.shape)
    selector = BackwardMask(1, "random", 0.25, 0.0, False)
    assert selector.wants(batch) == frozenset()
    for number in range(2000):
        keep = selector.choose(batch, Scores(), 8, number).keep
        assert keep.sum() == round(0.25 * known.sum())
        counts += keep
    assert not counts[~known].any()
    assert counts[known] / 2000 == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(("rule", "kept"), [("lowest", [0, 1]), ("highest", [2, 3]), ("band", [1, 2])])
def test_rules_by_loss_rank_over_the_whole_batch(rule, kept) -> None:
    batch = rows_of(2, tokens=4)
    loss = np.array([[0.0, 2, 4, 6], [1, 3, 5, 7]])
    selector = BackwardMask(1, rule, 0.5, 0.25, False)
    assert selector.wants(batch) == {"token_loss"}
    keep = selector.choose(batch, Scores(token_loss=loss), 2, 0).keep
    assert [np.flatnonzero(row).tolist() for row in keep] == [kept, kept]


def test_excess_over_a_reference() -> None:
    batch = rows_of(1, tokens=4)
    scores = Scores(token_loss=np.array([[9.0, 2, 4, 1]]), token_reference=np.array([[8.9, 0.5, 1, 2]]))
    selector = BackwardMask(1, "excess", 0.5, 0.0, False)
    assert selector.wants(batch) == {"token_loss", "token_reference"}
    assert selector.choose(batch, scores, 1, 0).keep.tolist() == [[False, True, True, False]]


def test_whole_rows_and_classes() -> None:
    batch = rows_of(4, tokens=3)
    selector = BackwardMask(1, "lowest", 0.5, 0.0, True)
    assert selector.wants(batch) == {"loss"}
    keep = selector.choose(batch, Scores(loss=np.array([3.0, 1, 4, 2])), 4, 0).keep
    assert keep.tolist() == [[one] * 3 for one in (False, True, False, True)]
    keep = selector.choose(rows_of(4), Scores(loss=np.array([3.0, 1, 4, 2])), 4, 0).keep
    assert keep.tolist() == [False, True, False, True]


def test_one_target_stays_at_least() -> None:
    assert (
        BackwardMask(1, "random", 0.01, 0.0, False).choose(rows_of(1, tokens=3), Scores(), 1, 0).keep.sum()
        == 1
    )
