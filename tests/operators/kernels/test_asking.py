"""Questions and answers between documents."""

from __future__ import annotations

import numpy as np

from operators.kernels.asking import answer, ask


def test_ask() -> None:
    row, key, side = ask(
        uid=np.array([10, 11, 12]),
        answers=np.array([True, False, True]),
        lengths=np.array([0, 2, 1]),
        edges=np.array([7, 10, 10]),
        asks=np.array([True, True, False]),
    )
    assert list(zip(row.tolist(), key.tolist(), side.tolist(), strict=True)) == [
        (0, 10, 0),
        (1, 7, 1),
        (1, 10, 1),
        (2, 12, 0),
    ]


def test_answers_carry_over_batches() -> None:
    side, values = np.array([0, 1, 1, 0, 1], np.uint8), np.array([5, 0, 0, 6, 0], np.int8)
    for cut in range(6):
        carry = np.zeros(1, np.int8)
        got = [answer(side[s], values[s], carry) for s in (slice(cut), slice(cut, None))]
        assert np.concatenate(got).tolist() == [5, 5, 5, 6, 6]
