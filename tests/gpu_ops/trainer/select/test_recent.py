"""Rings of losses against scipy and scikit-learn; last losses by row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import percentileofscore
from sklearn.metrics import roc_auc_score

from gpu_ops.trainer.select.recent import LastLosses, Ring


def test_a_ring_keeps_the_last_and_ranks_as_scipy_does() -> None:
    losses = np.round(np.random.default_rng(0).exponential(size=90), 1)
    ring = Ring(40)
    for start in range(0, 90, 7):
        ring.add(losses[start : start + 7])
    assert ring.values.tolist() == losses[-40:].tolist()
    want = [percentileofscore(losses[-40:], one, "rank") / 100 for one in losses]
    assert ring.rank(losses) == pytest.approx(want)
    assert ring.quantile(0.3) == np.quantile(losses[-40:], 0.3)
    again = Ring(40)
    again.restore(ring.state())
    assert again.values.tolist() == ring.values.tolist()
    assert Ring(3).quantile(0.5) == np.inf


def test_the_area_under_the_curve_is_scikit_learns() -> None:
    luck = np.random.default_rng(1)
    said, yes = np.round(luck.random(50), 1), luck.random(50) < 0.4
    ring = Ring(50)
    ring.add(said)
    assert ring.rank_among(yes) == pytest.approx(roc_auc_score(yes, said))


def test_last_losses_by_row() -> None:
    last = LastLosses()
    rows = np.array([3, 0, 3])
    assert np.isnan(last.get(rows)).all()
    last.put(rows, np.array([1.0, 2.0, 5.0]))
    last.use(np.array([3, 3, 0]))
    assert last.get(np.array([0, 3])).tolist() == [2.0, 5.0]
    assert last.used(np.array([0, 3])).tolist() == [1, 2]
    again = LastLosses()
    again.restore(last.state())
    assert again.get(rows).tolist() == [5.0, 2.0, 5.0]
    with pytest.raises(ValueError, match="cut into other rows"):
        last.put(np.array([-1]), np.array([1.0]))
