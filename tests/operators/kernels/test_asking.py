"""Questions and answers between documents."""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.asking import answered, ask


def test_ask() -> None:
    row, key, side = ask(
        uid=np.array([10, 11, 12]),
        answers=np.array([True, False, True]),
        lengths=np.array([0, 2, 1]),
        edges=np.array([7, 10, 10]),
    )
    assert list(zip(row.tolist(), key.tolist(), side.tolist(), strict=True)) == [
        (0, 10, 0),
        (1, 7, 1),
        (1, 10, 1),
        (2, 12, 0),
        (2, 10, 1),
    ]


def test_answers_carry_over_batches() -> None:
    side, status = np.array([0, 1, 1, 0, 1], np.uint8), np.array([5, 0, 0, 6, 0], np.int8)
    near = np.array([0.5, 0, 0, 0.25, 0], np.float32)
    for cut in range(6):
        carry: dict[str, Any] = {}
        parts = (slice(cut), slice(cut, None))
        got = [answered(side[s], {"status": status[s], "near": near[s]}, carry) for s in parts]
        assert np.concatenate([one["status"] for one in got]).tolist() == [5, 5, 5, 6, 6]
        assert np.concatenate([one["near"] for one in got]).tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]
        assert {one["status"].dtype for one in got} == {np.dtype(np.int8)}
