"""The earlier documents of a bucket whose signatures say that they are near, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel, part

UInt64s = npt.NDArray[np.uint64]

FULL = 2048  # rows up to which all pairs of a bucket are compared, unless given
LEADERS, RECENT = 256, 256  # what a larger bucket remembers each time that its window is full
_SCORES = 1025 + LEADERS  # up to 1,024 equal bytes, then leaders, the earliest highest


class Bucket:
    """What is remembered of the bucket that the last message belonged to.

    state: (4,) int64: rows in the window, rows it may hold, whether there is a key yet, rows that it
    may hold before it is cut for the first time.
    """

    def __init__(self, permutations: int, full: int = FULL) -> None:
        self.full = full
        self.key = np.zeros(1, np.uint64)
        self.state = np.array([0, full, 0, full], np.int64)
        self.uid = np.empty(full, np.int64)
        self.leads = np.empty(full, np.bool_)
        self.signature = np.empty((full, permutations), np.uint8)

    def window(self) -> Any:
        return self.key, self.state, self.uid, self.leads, self.signature


def slack(threshold: float, permutations: int) -> float:
    """How far under the threshold an estimate of J may lie: three of its standard deviations."""
    return 3 * float(np.sqrt(threshold * (1 - threshold) / permutations))


@part
def _equal_bytes(a: Any, i: int, b: Any, j: int) -> Any:
    """In how many places row i of a and row j of b agree."""
    equal = np.int32(0)
    for k in range(a.shape[1]):
        equal += np.int32(a[i, k] == b[j, k])
    return equal


@part
def _compact(window: Any) -> None:
    """Keeps the first LEADERS leaders and, of the others, the RECENT last rows, in their order."""
    _, state, uid, leads, signature = window
    count, leaders, kept = state[0], 0, 0
    for i in range(count):
        leader = leads[i] and leaders < LEADERS
        leaders += leader
        if leader or i >= count - RECENT:
            uid[kept], leads[kept] = uid[i], leads[i]
            for k in range(signature.shape[1]):
                signature[kept, k] = signature[i, k]
            kept += 1
    state[0], state[1] = kept, 2 * (LEADERS + RECENT)


@part
def _best(score: Any, count: int, most: int, tally: Any) -> Any:
    """The least score that still belongs to the `most` highest of score[:count], by counting."""
    if count <= most:
        return np.int64(0)
    for i in range(len(tally)):
        tally[i] = 0
    for i in range(count):
        tally[score[i]] += 1
    cutoff, above = np.int64(len(tally)), np.int64(0)
    while above < most:
        cutoff -= 1
        above += tally[cutoff]
    return cutoff


@kernel
def _search(
    key: Any,
    uid: Any,
    signature: Any,
    bounds: Any,
    window: Any,
    scratch: Any,
    lengths: Any,
    near: Any,
    scores: Any,
    cut: Any,
) -> int:
    """bounds: (equal bytes of a candidate, of a leader's follower, candidates a message)."""
    needed, follows, most = bounds
    last, state, uids, leads, signatures = window
    found, score, tally = scratch
    at = 0
    for m in range(len(key)):
        if key[m] != last[0] or state[2] == 0:
            last[0], state[0], state[1], state[2] = key[m], 0, state[3], 1
        if state[0] == state[1]:
            _compact(window)
        hits, leader, seen = 0, True, 0
        for i in range(state[0]):
            if uids[i] == uid[m]:  # two bands of one row may share a key
                continue
            equal = _equal_bytes(signature, m, signatures, i)
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
        cut[m] = hits > most or state[1] != state[3]
        end = state[0]
        uids[end], leads[end] = uid[m], leader
        for k in range(signature.shape[1]):
            signatures[end, k] = signature[m, k]
        state[0] = end + 1
    return at


def search(
    key: UInt64s,
    uid: npt.NDArray[np.int64],
    signature: npt.NDArray[np.uint8],
    bucket: Bucket,
    *,
    threshold: float,
    slack: float,
    most: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """(lengths (n,), near, scores, cut (n,)) for n messages sorted by key and keep order: for each the
    uids of at most `most` earlier rows of its bucket whose signatures agree in threshold - slack of all
    bytes, and whether there may be more of them.

    A row that is surely near no earlier leader (threshold + slack / 3) is a leader itself: who is kept
    is most likely one, so leaders score highest, the earliest first, then the most similar. `bucket`
    carries the last key over.
    """
    permutations = signature.shape[1]
    needed = int(np.ceil((threshold - slack) * permutations))
    follows = min(permutations, int(np.ceil((threshold + slack / 3) * permutations)))
    bounds = (needed, follows, most)
    lengths = np.zeros(len(key), np.int64)
    near, scores = np.empty(len(key) * most, np.int64), np.empty(len(key) * most, np.int32)
    cut = np.zeros(len(key), np.bool_)
    scratch = np.empty(bucket.full, np.int64), np.empty(bucket.full, np.int32), np.empty(_SCORES, np.int64)
    used = _search(key, uid, signature, bounds, bucket.window(), scratch, lengths, near, scores, cut)
    return lengths, near[:used].copy(), scores[:used].copy(), cut


@kernel
def _unite(row: Any, near: Any, score: Any, most: int, scratch: Any, lengths: Any, out: Any, cut: Any) -> int:
    """Of messages sorted by row and uid: the distinct uids of each row, the `most` of highest score."""
    uids, best, tally = scratch
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
        lengths[row[first]], cut[row[first]] = taken, count > most
    return at


def unite(
    rows: int,
    row: npt.NDArray[np.int64],
    near: npt.NDArray[np.int64],
    score: npt.NDArray[np.int32],
    most: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(lengths (rows,), uids, cut (rows,)): what the bands of each row found, united, and whether that
    was more than `most`. row: one a uid, ascending."""
    order = np.lexsort([near, row])
    lengths, out, cut = np.zeros(rows, np.int64), np.empty(len(near), np.int64), np.zeros(rows, np.bool_)
    scratch = np.empty(len(near), np.int64), np.empty(len(near), np.int32), np.empty(_SCORES, np.int64)
    used = _unite(row[order], near[order], score[order], most, scratch, lengths, out, cut)
    return lengths, out[:used].copy(), cut
