"""The earlier documents of a bucket whose signatures say that they are near, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

UInt64s = npt.NDArray[np.uint64]

FULL = 2048  # rows up to which all pairs of a bucket are compared
LEADERS, RECENT = 256, 256  # what a larger bucket remembers each time that its window is full
_SCORES = 1025 + LEADERS  # up to 1,024 equal bytes, then leaders, the earliest highest


class Bucket:
    """What is remembered of the bucket that the last message belonged to.

    state: (3,) int64: rows in the window, rows it may hold, whether there is a key yet.
    """

    def __init__(self, permutations: int) -> None:
        self.key = np.zeros(1, np.uint64)
        self.state = np.array([0, FULL, 0], np.int64)
        self.uid = np.empty(FULL, np.int64)
        self.size = np.empty(FULL, np.int32)
        self.leads = np.empty(FULL, np.bool_)
        self.signature = np.empty((FULL, permutations), np.uint8)

    def window(self) -> Any:
        return self.key, self.state, self.uid, self.size, self.leads, self.signature


@njit(nogil=True, cache=True, inline="always")
def _equal_bytes(a: Any, b: Any) -> Any:
    equal = np.int32(0)
    for i in range(len(a)):
        equal += np.int32(a[i] == b[i])
    return equal


@njit(nogil=True, cache=True)
def _compact(window: Any) -> None:
    """Keeps the first LEADERS leaders and, of the others, the RECENT last rows, in their order."""
    _, state, uid, size, leads, signature = window
    count, leaders, kept = state[0], 0, 0
    for i in range(count):
        leader = leads[i] and leaders < LEADERS
        leaders += leader
        if leader or i >= count - RECENT:
            uid[kept], size[kept], leads[kept] = uid[i], size[i], leads[i]
            signature[kept] = signature[i]
            kept += 1
    state[0], state[1] = kept, 2 * (LEADERS + RECENT)


@njit(nogil=True, cache=True)
def _best(score: Any, count: int, most: int, tally: Any) -> Any:
    """The least score that still belongs to the `most` highest of score[:count], by counting."""
    if count <= most:
        return np.int64(0)
    tally[:] = 0
    for i in range(count):
        tally[score[i]] += 1
    cutoff, above = np.int64(len(tally)), np.int64(0)
    while above < most:
        cutoff -= 1
        above += tally[cutoff]
    return cutoff


@njit(nogil=True, cache=True)
def _search(
    key: Any,
    uid: Any,
    size: Any,
    signature: Any,
    bounds: Any,
    window: Any,
    lengths: Any,
    near: Any,
    scores: Any,
) -> int:
    """bounds: (equal bytes of a candidate, of a leader's follower, candidates a message, least share)."""
    needed, follows, most, least = bounds
    last, state, uids, sizes, leads, signatures = window
    found, score = np.empty(FULL, np.int64), np.empty(FULL, np.int32)
    tally = np.empty(_SCORES, np.int64)
    at = 0
    for m in range(len(key)):
        if key[m] != last[0] or state[2] == 0:
            last[0], state[0], state[1], state[2] = key[m], 0, FULL, 1
        if state[0] == state[1]:
            _compact(window)
        hits, leader, seen = 0, True, 0
        for i in range(state[0]):
            small, large = min(size[m], sizes[i]), max(size[m], sizes[i])
            if small < least * large or uids[i] == uid[m]:  # two bands of one row may share a key
                continue
            equal = _equal_bytes(signature[m], signatures[i])
            if equal >= needed:
                leader_score = _SCORES - 1 - min(seen, LEADERS - 1)
                found[hits], score[hits] = uids[i], leader_score if leads[i] else equal
                hits, seen = hits + 1, seen + leads[i]
                leader = leader and not (leads[i] and equal >= follows)
        cutoff, taken = _best(score, hits, most, tally), 0
        for i in range(hits):
            if score[i] >= cutoff and taken < most:
                near[at + taken], scores[at + taken] = found[i], score[i]
                taken += 1
        at += taken
        lengths[m] = taken
        end = state[0]
        uids[end], sizes[end], leads[end] = uid[m], size[m], leader
        signatures[end] = signature[m]
        state[0] = end + 1
    return at


def search(
    key: UInt64s,
    uid: npt.NDArray[np.int64],
    size: npt.NDArray[np.int32],
    signature: npt.NDArray[np.uint8],
    bucket: Bucket,
    *,
    threshold: float,
    slack: float,
    most: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(lengths (n,), near, scores) for n messages sorted by key and keep order: for each the uids of
    at most `most` earlier rows of its bucket whose signatures agree in threshold - slack of all bytes.

    Sets whose sizes alone say that J < threshold are left out. A row that is surely near no earlier
    leader (threshold + slack / 3) is a leader itself: who is kept is most likely one, so leaders
    score highest, the earliest first, then the most similar. `bucket` carries the last key over.
    """
    permutations = signature.shape[1]
    needed = int(np.ceil((threshold - slack) * permutations))
    follows = min(permutations, int(np.ceil((threshold + slack / 3) * permutations)))
    bounds = (needed, follows, most, threshold * (1 - 1e-9))
    lengths = np.zeros(len(key), np.int64)
    near, scores = np.empty(len(key) * most, np.int64), np.empty(len(key) * most, np.int32)
    used = _search(key, uid, size, signature, bounds, bucket.window(), lengths, near, scores)
    return lengths, near[:used].copy(), scores[:used].copy()


@njit(nogil=True, cache=True)
def _unite(row: Any, near: Any, score: Any, most: int, lengths: Any, out: Any) -> int:
    """Of messages sorted by row and uid: the distinct uids of each row, the `most` of highest score."""
    tally = np.empty(_SCORES, np.int64)
    uids, best = np.empty(len(near), np.int64), np.empty(len(near), np.int32)
    at, m = 0, 0
    while m < len(row):
        first, count = m, 0
        while m < len(row) and row[m] == row[first]:
            if count and uids[count - 1] == near[m]:
                best[count - 1] = max(best[count - 1], score[m])
            else:
                uids[count], best[count] = near[m], score[m]
                count += 1
            m += 1
        cutoff, taken = _best(best, count, most, tally), 0
        for i in range(count):
            if best[i] >= cutoff and taken < most:
                out[at + taken] = uids[i]
                taken += 1
        at += taken
        lengths[row[first]] = taken
    return at


def unite(
    rows: int,
    row: npt.NDArray[np.int64],
    near: npt.NDArray[np.int64],
    score: npt.NDArray[np.int32],
    most: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(lengths (rows,), uids): what the bands of each row found, united. row: one a uid, ascending."""
    order = np.lexsort([near, row])
    lengths, out = np.zeros(rows, np.int64), np.empty(len(near), np.int64)
    used = _unite(row[order], near[order], score[order], most, lengths, out)
    return lengths, out[:used].copy()
