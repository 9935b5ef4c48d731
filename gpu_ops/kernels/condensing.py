"""Hart's condensed nearest neighbours for two classes, in blocks instead of row by row.

Legend: n rows, d numbers in each; r rows of the rare class, c of the common one, s of these in the store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpu_ops.kernels.neighbours import top_k
from gpu_ops.kernels.pool import Bools, Float32s, Float64s, Int64s

_BLOCK = 256  # rows that are compared with each other one by one


@dataclass(frozen=True)
class Redundant:
    """wrong: the rows whose nearest row of the store is rare (or as near as a rare one), in the order given.
    nearest: (m,) the nearest rows of the store, the rare one where both are as near."""

    wrong: Int64s
    nearest: Int64s


def redundant(x: Float32s, rare: Int64s, kept: Int64s, rows: Int64s, device: str) -> Redundant:
    """How the store of the rare and the kept rows classifies these rows (m,) of the common class."""
    if not len(rows):
        return Redundant(rows, rows)
    asking = np.asarray(x[rows])
    theirs = top_k(asking, np.asarray(x[rare]), 1, "l2", device=device)
    own = top_k(asking, np.asarray(x[kept]), 1, "l2", device=device)
    wrong = theirs.value[:, 0] <= own.value[:, 0]
    nearest = np.where(wrong, rare[theirs.index[:, 0]], kept[own.index[:, 0]])
    return Redundant(rows[wrong], nearest)


def condense(x: Float32s, rare: Int64s, mine: Int64s, passes: int | None, device: str) -> Int64s:
    """The rows of the common class that the store needs, in the order in which they joined it.

    x: (n, d). rare: (r,) and mine: (c,), at least one each, rows of x; `mine` in the order in which they are
    tried. A row joins when the nearest of the rare rows is at most as far as the nearest of the store's own.
    Passes go on until one adds nothing (then none of `mine` is misclassified), or so many are over.
    """
    far = top_k(np.asarray(x[mine]), np.asarray(x[rare]), 1, "l2", device=device).value[:, 0]
    own = np.full(len(mine), np.inf)  # to the nearest of the store that was looked at
    stored = np.zeros(len(mine), bool)
    stored[0] = True
    joined, looked = [0], np.zeros(len(mine), np.int64)
    number = 0
    while passes is None or number < passes:
        before, number = len(joined), number + 1
        rest = np.flatnonzero(~stored)
        for start in range(0, len(rest), _BLOCK):
            block = rest[start : start + _BLOCK]
            _catch_up(x, mine, block, np.array(joined), looked, own, device)
            joined += _one_by_one(np.asarray(x[mine[block]], np.float64), far[block], own, block)
            stored[joined] = True
        if len(joined) == before:
            break
    return mine[joined]


def _catch_up(
    x: Float32s,
    mine: Int64s,
    block: Int64s,
    joined: Int64s,
    looked: Int64s,
    own: Float64s,
    device: str,
) -> None:
    """Brings `own` of the block up to date with what joined the store since it was looked at."""
    for seen in np.unique(looked[block]):
        rows = block[looked[block] == seen]
        if seen < len(joined):
            new = np.asarray(x[mine[joined[seen:]]])
            near = top_k(np.asarray(x[mine[rows]]), new, 1, "l2", device=device).value[:, 0]
            own[rows] = np.minimum(own[rows], near)
    looked[block] = len(joined)


def _one_by_one(points: Float64s, far: Float64s, own: Float64s, block: Int64s) -> list[int]:
    """The rows of the block that join, in turn; `own` learns of those within the block."""
    joined: list[int] = []
    waiting: Bools = far <= own[block]
    while waiting.any():
        first = int(np.argmax(waiting))
        joined.append(int(block[first]))
        apart = points - points[first]
        own[block] = np.minimum(own[block], np.sqrt((apart * apart).sum(axis=1)))
        waiting = far <= own[block]
        waiting[: first + 1] = False
    return joined
