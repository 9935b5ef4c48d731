"""Which clusters may be held out."""

from __future__ import annotations

import numpy as np

from operators.kernels.counter import uniform
from operators.kernels.eligible import draw


def test_giants_and_whole_groups_are_left() -> None:
    lead = np.arange(5, dtype=np.uint64)
    size, total = np.array([1, 3, 26, 1, 2]), np.array([100, 100, 100, 1, 4])
    drawn = draw(3, lead, size, total, largest=0.25)
    assert (drawn == 2).tolist() == [False, False, True, True, True]
    assert drawn[:2].tolist() == uniform(3, lead[:2]).tolist()
