"""Messages between documents that are joined by edges: a question goes to the partner's uid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# The status of a document in the greedy decision.
UNDECIDED, KEPT, GONE = 0, 1, 2


def ask(
    uid: Int64s, answers: Bools, lengths: Int64s, edges: Int64s, asks: Bools
) -> tuple[Int64s, npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """(row, key, side) of the messages of n documents: side 0 is a document's own answer, under its
    uid, where `answers`; side 1 are its questions, one under the uid of each edge, where `asks`."""
    own = np.flatnonzero(answers)
    wanted = np.repeat(asks, lengths)
    row = np.concatenate([own, np.repeat(np.arange(len(uid)), lengths)[wanted]])
    key = np.concatenate([uid[own], edges[wanted]]).astype(np.uint64)
    side = (np.arange(len(row)) >= len(own)).astype(np.uint8)
    order = np.argsort(row, kind="stable")
    return row[order], key[order], side[order]


def answer(
    side: npt.NDArray[np.uint8], values: npt.NDArray[Any], carry: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """For n messages sorted by key and side: the value that the last message of side 0 at or before
    each one brought. carry: (1,) that of the messages before these; updated."""
    place = np.maximum.accumulate(np.where(side == 0, np.arange(len(side)), -1))
    answers = np.where(place >= 0, values[np.maximum(place, 0)], carry[0]) if len(side) else values
    if len(side):
        carry[0] = answers[-1]
    return answers
