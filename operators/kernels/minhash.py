"""MinHash signatures, their bands and the exact Jaccard index, over hashed shingle sets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from operators.kernels.counter import mix64
from operators.kernels.shingles import mix, scratch_cells, shingle_set, word_tables

UInt64s = npt.NDArray[np.uint64]
UInt32s = npt.NDArray[np.uint32]

# Before the first partner of `jaccard_with`: a key that is no uid, and an empty set.
NOBODY = (np.full(1, 2**64 - 1, np.uint64), np.zeros(1, np.uint64), np.zeros(0, np.uint64))

# A missed pair costs what 49 needless candidates cost: candidates are verified, misses stay.
MISS_WEIGHT = 0.98
_TOP = np.uint64(32)
_SET_LOW, _SET_HIGH = np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB)
_BYTE_STEP = np.uint32(0x9E3779B1)
_BAND_STEP = np.uint64(0x8EBC6AF09C88C6E3)


def band_shape(threshold: float, permutations: int, miss_weight: float = MISS_WEIGHT) -> tuple[int, int]:
    """(bands, rows) with bands * rows <= permutations that minimise the weighted areas of false
    candidates (below the threshold) and misses (above it) under P(candidate) = 1 - (1 - J^rows)^bands
    (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4; Zhu et al., datasketch)."""
    jaccard = (np.arange(1000) + 0.5) / 1000
    below = jaccard < threshold
    best = (np.inf, 1, 1)
    for rows in range(1, permutations + 1):
        lost, one_band = np.ones(len(jaccard)), 1.0 - jaccard**rows
        for bands in range(1, permutations // rows + 1):
            lost *= one_band
            cost = (1 - miss_weight) * (1.0 - lost[below]).sum() + miss_weight * lost[~below].sum()
            best = min(best, (float(cost), bands, rows))
    return best[1], best[2]


def permutation_factors(seed: int, permutations: int) -> UInt32s:
    """(2, permutations) uint32: the odd a and the b of x -> a * x + b mod 2^32."""
    start = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        bits = mix64(mix64(np.arange(permutations, dtype=np.uint64)) + start)
    return np.stack([bits.astype(np.uint32) | np.uint32(1), (bits >> _TOP).astype(np.uint32)])


@njit(nogil=True, cache=True)
def min_hash(x: Any, count: int, factors: Any, out: Any) -> None:
    """Writes min over x[:count] (uint32) of a * x + b mod 2^32 to out (permutations,) uint32.

    Four permutations share each load of x; the loop over x becomes vector code.
    """
    for p in range(0, len(out), 4):
        a0, a1, a2, a3 = factors[0, p], factors[0, p + 1], factors[0, p + 2], factors[0, p + 3]
        b0, b1, b2, b3 = factors[1, p], factors[1, p + 1], factors[1, p + 2], factors[1, p + 3]
        m0 = m1 = m2 = m3 = np.uint32(0xFFFFFFFF)
        for i in range(count):
            m0 = min(m0, np.uint32(a0 * x[i] + b0))
            m1 = min(m1, np.uint32(a1 * x[i] + b1))
            m2 = min(m2, np.uint32(a2 * x[i] + b2))
            m3 = min(m3, np.uint32(a3 * x[i] + b3))
        out[p], out[p + 1], out[p + 2], out[p + 3] = m0, m1, m2, m3


@njit(nogil=True, cache=True)
def _bands(values: Any, rows: int, out: Any) -> None:
    """Writes a 64-bit key of each band's values to out (bands,); the band's number enters the key."""
    for band in range(len(out)):
        key = np.uint64(band + 1) * _BAND_STEP
        for row in range(rows):
            key = mix((key ^ np.uint64(values[band * rows + row])) * _BAND_STEP)
        out[band] = key


@njit(nogil=True, cache=True)
def _sign(
    data: Any,
    starts: Any,
    ends: Any,
    zero: bool,
    rows: int,
    tables: Any,
    factors: Any,
    scratch: Any,
    out: Any,
) -> None:
    ring, table, shingles, x, values = scratch
    bands, signature, sets, counts = out
    for i in range(len(starts)):
        count, _ = shingle_set(data, starts[i], ends[i], zero, tables, ring, table, shingles)
        counts[i] = count
        low, high = np.uint64(0), np.uint64(0)
        for j in range(count):
            low += mix(shingles[j] ^ _SET_LOW)
            high += mix(shingles[j] ^ _SET_HIGH)
            x[j] = np.uint32(shingles[j] >> _TOP)
        sets[i, 0], sets[i, 1] = low, high
        min_hash(x, count, factors, values)
        _bands(values, rows, bands[i])
        for p in range(signature.shape[1]):
            signature[i, p] = np.uint8(np.uint32(values[p] * _BYTE_STEP) >> np.uint32(24))


def sign_texts(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    *,
    ngram: int,
    zero_numbers: bool,
    bands: int,
    rows: int,
    factors: UInt32s,
) -> tuple[UInt64s, npt.NDArray[np.uint8], UInt64s, npt.NDArray[np.int32]]:
    """For n texts: band keys (n, bands) uint64; signature (n, permutations) uint8, one byte of each
    minimum; a 128-bit hash of the shingle set (n, 2) uint64, a sum over the set of two mixes; and the
    size of the set (n,) int32. The permutations are a multiple of four."""
    n, permutations = len(starts), factors.shape[1]
    out = (
        np.empty((n, bands), np.uint64),
        np.empty((n, permutations), np.uint8),
        np.empty((n, 2), np.uint64),
        np.empty(n, np.int32),
    )
    _sign(
        data,
        starts,
        ends,
        zero_numbers,
        rows,
        word_tables(zero_numbers),
        factors,
        _scratch(starts, ends, ngram, permutations),
        out,
    )
    return out


def _scratch(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], ngram: int, permutations: int
) -> Any:
    cells, words = scratch_cells(int((ends - starts).max(initial=0)))
    return (
        np.empty(ngram, np.uint64),
        np.empty(cells, np.uint64),
        np.empty(words, np.uint64),
        np.empty(words, np.uint32),
        np.empty(permutations, np.uint32),
    )


@njit(nogil=True, cache=True)
def _shingle_lists(
    data: Any, starts: Any, ends: Any, zero: bool, tables: Any, scratch: Any, limits: Any, out: Any
) -> int:
    ring, table, shingles, _, _ = scratch
    at = 0
    for i in range(len(starts)):
        count, _ = shingle_set(data, starts[i], ends[i], zero, tables, ring, table, shingles)
        out[at : at + count] = shingles[:count]
        at += count
        limits[i + 1] = at
    return at


def shingle_lists(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    *,
    ngram: int,
    zero_numbers: bool,
) -> tuple[npt.NDArray[np.int64], UInt64s]:
    """The shingle sets of n texts, each ascending: offsets (n + 1,) int64 and all hashes in a row."""
    limits = np.zeros(len(starts) + 1, np.int64)
    out = np.empty(int(((ends - starts) // 2 + 1).sum()), np.uint64)
    scratch = _scratch(starts, ends, ngram, 0)
    size = _shingle_lists(data, starts, ends, zero_numbers, word_tables(zero_numbers), scratch, limits, out)
    for a, b in pairwise(limits.tolist()):
        out[a:b].sort()  # numpy sorts with vector instructions, numba does not
    return limits, out[:size].copy()


@njit(nogil=True, cache=True)
def jaccard(a: Any, b: Any) -> float:
    """The Jaccard index of two ascending arrays of distinct numbers; of two empty ones 0."""
    i, j, both = 0, 0, 0
    while i < len(a) and j < len(b):
        both += a[i] == b[j]
        ahead, behind = a[i] <= b[j], b[j] <= a[i]
        i += ahead
        j += behind
    either = len(a) + len(b) - both
    return both / either if either else 0.0


@njit(nogil=True, cache=True)
def _jaccard_with(
    key: Any, side: Any, rank: Any, offsets: Any, hashes: Any, partner: Any, similarity: Any, ranks: Any
) -> int:
    known, last, mine = partner[0][0], partner[1][0], partner[2]
    for i in range(len(key)):
        sent = hashes[offsets[i] : offsets[i + 1]]
        if side[i] == 0:
            known, last, mine = key[i], rank[i], sent
            similarity[i] = -1.0
        elif key[i] != known:
            return i
        else:
            similarity[i] = jaccard(mine, sent)
        ranks[i] = last
    return len(key)


def jaccard_with(
    key: UInt64s,
    side: npt.NDArray[np.uint8],
    rank: UInt64s,
    offsets: npt.NDArray[np.int64],
    hashes: UInt64s,
    partner: tuple[UInt64s, UInt64s, UInt64s],
) -> tuple[npt.NDArray[np.float64], UInt64s]:
    """(similarity, rank of the partner) for n messages sorted by key and side: side 0 is the partner
    itself (similarity -1), side 1 a follower. Set i is hashes[offsets[i]:offsets[i+1]], ascending.
    partner: (key, rank, set) of the last partner of the messages before these, or NOBODY.

    Raises ValueError where a follower's partner has not answered.
    """
    similarity, ranks = np.empty(len(key), np.float64), np.empty(len(key), np.uint64)
    done = _jaccard_with(key, side, rank, offsets, hashes, partner, similarity, ranks)
    if done < len(key):
        raise ValueError(
            f"document {key[done]} is a candidate but sent no shingles: it is not alive any more"
        )
    return similarity, ranks


def reference(shingles: set[int], factors: UInt32s) -> list[int]:
    """The minima by definition, in Python integers."""
    x = [shingle >> 32 for shingle in shingles]
    pairs = zip(factors[0].tolist(), factors[1].tolist(), strict=True)
    return [min(((a * value + b) % 2**32 for value in x), default=2**32 - 1) for a, b in pairs]
