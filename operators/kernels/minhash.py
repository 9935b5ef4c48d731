"""MinHash signatures and their bands, straight from the columns of text or tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels import units
from operators.kernels.counter import mix64
from operators.kernels.jit import kernel, part
from operators.kernels.shingles import Shingling, next_grams, spans
from operators.kernels.simd import fold_product

UInt64s = npt.NDArray[np.uint64]
UInt32s = npt.NDArray[np.uint32]

# A missed pair costs what 49 needless candidates cost: candidates are verified, misses stay.
MISS_WEIGHT = 0.98
SCHEME = "minhash2"  # another name for other signatures or band keys of the same hashes
_BYTE_STEP = np.uint32(0x9E3779B1)
_BAND_STEP = np.uint64(0x8EBC6AF09C88C6E3)
_NONE = np.uint32(0xFFFFFFFF)
_TOP = np.uint64(32)
_0, _1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(n) for n in range(9))


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
    """(permutations,) uint32, odd: the a of x -> a * x mod 2^32."""
    start = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        bits = mix64(mix64(np.arange(permutations, dtype=np.uint64)) + start)
    return bits.astype(np.uint32) | np.uint32(1)


@kernel
def lower_minima(grams: Any, first: int, stop: int, factors: Any, minima: Any) -> None:
    """Lowers minima (permutations,) to the least a * x mod 2^32 over the top halves x of
    grams[first:stop]. grams has room for seven more, which become copies.

    Eight x share each load of a minimum; the loop over permutations becomes vector code.
    """
    if first == stop:
        return
    for k in range(7):
        grams[stop + k] = grams[stop - 1]
    i, end = np.uint64(first), np.uint64(stop)
    while i < end:
        x0, x1 = np.uint32(grams[i] >> _TOP), np.uint32(grams[i + _1] >> _TOP)
        x2, x3 = np.uint32(grams[i + _2] >> _TOP), np.uint32(grams[i + _3] >> _TOP)
        x4, x5 = np.uint32(grams[i + _4] >> _TOP), np.uint32(grams[i + _5] >> _TOP)
        x6, x7 = np.uint32(grams[i + _6] >> _TOP), np.uint32(grams[i + _7] >> _TOP)
        i += _8
        for p in range(len(minima)):
            a = factors[p]
            least = min(minima[p], np.uint32(a * x0))
            least = min(least, np.uint32(a * x1))
            least = min(least, np.uint32(a * x2))
            least = min(least, np.uint32(a * x3))
            least = min(least, np.uint32(a * x4))
            least = min(least, np.uint32(a * x5))
            least = min(least, np.uint32(a * x6))
            minima[p] = min(least, np.uint32(a * x7))


@part
def _bands(minima: Any, rows: int, row: int, out: Any) -> None:
    """Writes a 64-bit key of each band's minima to out[row]; the band's number enters the key."""
    for band in range(out.shape[1]):
        key = np.uint64(band + 1) * _BAND_STEP
        for k in range(band * rows, (band + 1) * rows):
            key = fold_product(key ^ np.uint64(minima[k]), _BAND_STEP)
        out[row, band] = key


@kernel
def _sign(
    data: Any, starts: Any, ends: Any, rules: Any, ngram: int, rows: int, factors: Any, scratch: Any, out: Any
) -> None:
    grams, cursor = scratch[3], scratch[4]
    bands, signature, same, counts, minima = out
    for row in range(len(starts)):
        units.rewind(starts[row], ngram, scratch)
        for p in range(len(minima)):
            minima[p] = _NONE
        total, low, high = 0, _0, _0
        while cursor[units.AT] < ends[row]:
            first, stop = next_grams(data, starts[row], ends[row], rules, ngram, scratch)
            total += stop - first
            for k in range(np.uint64(first), np.uint64(stop)):
                x = grams[k]
                low += x
                high += x * ((x >> _TOP) | (x << _TOP))
            lower_minima(grams, first, stop, factors, minima)
        same[row, 0], same[row, 1], counts[row] = low, high, total
        _bands(minima, rows, row, bands)
        for p in range(len(minima)):
            signature[row, p] = np.uint8(np.uint32(minima[p] * _BYTE_STEP) >> np.uint32(24))


def sign(
    column: pa.Array, shingling: Shingling, *, bands: int, rows: int, factors: UInt32s
) -> tuple[UInt64s, npt.NDArray[np.uint8], UInt64s, npt.NDArray[np.int32]]:
    """For n documents: band keys (n, bands) uint64; signature (n, permutations) uint8, one byte of each
    minimum; a 128-bit hash of the n-grams with their counts (n, 2) uint64, so that equal ones have equal
    shingle sets; and the number of n-grams, repeats included (n,) int32.

    column: large_string, or lists of integers for `unit: tokens`; a null is an empty document. factors:
    `permutation_factors`, at least bands * rows of them. Memory beside the result does not grow with
    the documents.
    """
    data, starts, ends = spans(column, shingling)
    n, permutations = len(starts), len(factors)
    out = (
        np.empty((n, bands), np.uint64),
        np.empty((n, permutations), np.uint8),
        np.empty((n, 2), np.uint64),
        np.empty(n, np.int32),
        np.empty(permutations, np.uint32),
    )
    ngram, scratch = shingling.ngram, units.scratch(shingling.ngram)
    _sign(data, starts, ends, shingling.rules, ngram, rows, factors, scratch, out)
    return out[:4]


def min_hash(hashes: UInt64s, factors: UInt32s) -> UInt32s:
    """(permutations,) the minima of one set of n-gram hashes; a signature keeps one byte of each."""
    minima = np.full(len(factors), _NONE)
    lower_minima(np.concatenate([hashes, np.zeros(7, np.uint64)]), 0, len(hashes), factors, minima)
    return minima


def scheme(shingling: Shingling, *, permutations: int, bands: int, rows: int, seed: int) -> str:
    """Names all that signatures and band keys depend on: only those of one scheme can be compared."""
    return f"{shingling.name}-{SCHEME}-{permutations}x8bit-{bands}x{rows}-seed{seed}"


def reference(shingles: set[int], factors: UInt32s) -> list[int]:
    """The minima by definition, in Python integers."""
    x = [shingle >> 32 for shingle in shingles]
    return [min((a * value % 2**32 for value in x), default=2**32 - 1) for a in factors.tolist()]
