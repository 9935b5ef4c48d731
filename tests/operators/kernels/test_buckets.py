"""Candidates in a bucket against all pairs, for any cut, and bounded for a hot key."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.buckets import FULL, Bucket, search, unite

P = 16


def messages(seed: int, n: int, keys: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    key = np.sort(rng.integers(0, keys, n)).astype(np.uint64)
    return key, np.arange(n, dtype=np.int64), rng.integers(0, 2, (n, P)).astype(np.uint8)


def found(batch: tuple[np.ndarray, ...], cuts: list[int], **how: float) -> list[list[int]]:
    bucket, out = Bucket(P), []
    ends = sorted(min(cut, len(batch[0])) for cut in cuts)
    for a, b in zip([0, *ends], [*ends, len(batch[0])], strict=True):
        lengths, near, *_ = search(*(part[a:b] for part in batch), bucket, **how)
        out += [part.tolist() for part in np.split(near, np.cumsum(lengths))[:-1]]
    return out


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 4), st.lists(st.integers(0, 60), max_size=4))
def test_all_pairs_for_any_cut(seed: int, n: int, keys: int, cuts: list[int]) -> None:
    batch = messages(seed, n, keys)
    key, _, signature = batch
    want = [
        [j for j in range(i) if key[i] == key[j] and (signature[i] == signature[j]).sum() >= 10]
        for i in range(n)
    ]
    assert found(batch, cuts, threshold=0.8, slack=0.175, most=100) == want


def test_a_hot_bucket_keeps_its_leader_and_the_bounds() -> None:
    """Half near copies of the first row, half noise: all copies still find the first."""
    n = 3 * FULL
    key, uid, signature = messages(0, n, 1)
    signature[::2] = signature[0]
    got = found((key, uid, signature), [1000], threshold=0.9, slack=0.1, most=8)
    assert all(near[0] == 0 for near in got[2::2])
    assert max(map(len, got)) <= 8


def test_leaders_are_named_first() -> None:
    """Rows 1 to 4 are copies of row 0; row 5 is nearer to them than to the leader, but it asks for one."""
    signature = np.zeros((6, P), np.uint8)
    signature[1:5, 0] = signature[5, :2] = 1
    key = np.zeros(6, np.uint64)
    batch = (key, np.arange(6), signature)
    assert found(batch, [], threshold=0.8, slack=0.1, most=1)[5] == [0]


def test_unite_drops_doubles_and_the_least_promising() -> None:
    row = np.array([1, 1, 1, 1, 3])
    near, score = np.array([9, 4, 9, 2, 7]), np.array([10, 12, 11, 14, 5], np.int32)
    lengths, uids, cut = unite(4, row, near, score, most=2)
    assert (lengths.tolist(), uids.tolist()) == ([0, 2, 0, 1], [2, 4, 7])
    assert cut.tolist() == [False, True, False, False]
