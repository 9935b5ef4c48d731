"""Messages between documents that are joined by edges: a question goes to the partner's uid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Columns = Mapping[str, npt.NDArray[Any]]

# The status of a document in the greedy decision.
UNDECIDED, KEPT, GONE = 0, 1, 2
# In the place of the similarity of an edge: the document is the partner's twin and shares its fate.
TWIN = np.float32(2)


def ask(
    uid: Int64s, answers: Bools, lengths: Int64s, edges: Int64s
) -> tuple[Int64s, npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """(row, key, side) of the messages of n documents: side 0 is a document's own answer, under its
    uid, where `answers`; side 1 are its questions, one under the uid of each edge, in their order."""
    own = np.flatnonzero(answers)
    row = np.concatenate([own, np.repeat(np.arange(len(uid)), lengths)])
    key = np.concatenate([uid[own], edges]).astype(np.uint64)
    side = (np.arange(len(row)) >= len(own)).astype(np.uint8)
    order = np.argsort(row, kind="stable")
    return row[order], key[order], side[order]


def answered(side: npt.NDArray[np.uint8], values: Columns, carry: dict[str, Any]) -> Columns:
    """For n messages sorted by key and side: the values that the last message of side 0 at or before
    each one brought. carry: those of the last such message before these; updated."""
    if not len(side):
        return values
    place = np.maximum.accumulate(np.where(side == 0, np.arange(len(side)), -1))
    known = {
        name: np.where(place >= 0, column[np.maximum(place, 0)], carry.get(name, 0)).astype(column.dtype)
        for name, column in values.items()
    }
    carry.update({name: column[-1] for name, column in known.items()})
    return known
