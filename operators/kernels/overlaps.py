"""How many hashes the sets of candidate pairs share, over messages that bring the sets together."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel, part

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]
Measure = Literal["jaccard", "containment"]

# Before the first partner of `overlaps`: a key that is no uid, and an empty set.
NOBODY = (np.full(1, 2**64 - 1, np.uint64), np.zeros(0, np.uint64))


@part
def _shared(a: Any, i: int, a_end: int, b: Any, j: int, b_end: int) -> int:
    """How many numbers a[i:a_end] and b[j:b_end] have in common, each ascending and distinct."""
    both = 0
    while i < a_end and j < b_end:
        both += a[i] == b[j]
        ahead, behind = a[i] <= b[j], b[j] <= a[i]
        i += ahead
        j += behind
    return both


@kernel
def _overlaps(
    key: Any, side: Any, offsets: Any, hashes: Any, before: Any, known: Any, both: Any, size: Any
) -> int:
    """The first message whose partner has not answered, or their number. before: the set of the last
    partner of the messages before these; known: (1,) its key."""
    first, last, mine = np.int64(-1), known[0], len(before)
    for i in range(len(key)):
        begin, end = offsets[i], offsets[i + 1]
        if side[i] == 0:
            first, last, mine = begin, key[i], end - begin
        elif key[i] != last:
            return i
        elif first < 0:
            both[i] = _shared(before, 0, mine, hashes, begin, end)
        else:
            both[i] = _shared(hashes, first, first + mine, hashes, begin, end)
        size[i] = mine
    return len(key)


def overlaps(
    key: UInt64s,
    side: npt.NDArray[np.uint8],
    offsets: Int64s,
    hashes: UInt64s,
    partner: tuple[UInt64s, UInt64s],
) -> tuple[Int64s, Int64s]:
    """(shared hashes, size of the partner's set) for n messages sorted by key and side: side 0 is the
    partner itself (it shares 0), side 1 a follower. Set i is hashes[offsets[i]:offsets[i+1]], ascending.
    partner: (key, set) of the last partner of the messages before these, or NOBODY.

    Raises ValueError where a follower's partner has not answered.
    """
    both, size = np.zeros(len(key), np.int64), np.zeros(len(key), np.int64)
    done = _overlaps(key, side, offsets, hashes, partner[1], partner[0], both, size)
    if done < len(key):
        raise ValueError(
            f"document {key[done]} is a candidate but sent no shingles: it is not alive any more"
        )
    return both, size


def similarity(both: Int64s, own: Int64s, partner: Int64s, measure: Measure) -> npt.NDArray[np.float64]:
    """`jaccard`: shared over all hashes of both sets; `containment`: shared over the own set's."""
    whole = own + partner - both if measure == "jaccard" else own
    return both / np.maximum(whole, 1)


def least_jaccard(threshold: Any, measure: Measure, size_ratio: float) -> Any:
    """The least Jaccard index of a set A with one, at most `size_ratio` times as large, that A is
    `threshold` similar to. threshold: a number or an array.

    A set with a containment c in one of r times its size has J = c / (1 + r - c).
    """
    return threshold if measure == "jaccard" else threshold / (1 + size_ratio - threshold)
