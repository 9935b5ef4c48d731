"""Hashed n-grams of byte-level tokens: counted, or summed over a table.

A token is a run of letters, digits and bytes from 0x80 on, A-Z lower-cased, or any other single byte
that is not ASCII white space. Its hash is FNV-1a (64 bits) over its bytes and the finaliser of
SplitMix64. The n-gram that ends at token i has G_1(i) = t_i, G_n(i) = mix(G_{n-1}(i-1) * M + t_i), with
M odd; its bucket is the top 32 bits of G_n, scaled to the number of buckets. These hashes are part of
stored results: they never change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import inlined, kernel

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_SCRATCH = 4096  # tokens at a time: a long text needs no more memory than a short one

# What a byte does: 0 is white space; else its lower case in the low 8 bits, and what it is part of.
_WORD, _ALONE, _LOW = 0x100, 0x200, 0xFF
_BYTES = np.arange(256, dtype=np.uint64) | np.uint64(_ALONE)
_BYTES[48:58] ^= np.uint64(_WORD | _ALONE)
_BYTES[97:123] ^= np.uint64(_WORD | _ALONE)
_BYTES[128:] ^= np.uint64(_WORD | _ALONE)
_BYTES[65:91] = _BYTES[97:123]
_BYTES[[9, 10, 11, 12, 13, 32]] = 0

_BASIS, _PRIME = 0xCBF29CE484222325, 0x100000001B3
_CHAIN = 0x9E3779B97F4A7C15
_MIX1, _MIX2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@inlined
def _mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX2)
    return x ^ (x >> np.uint64(31))


@kernel
def _read_tokens(data: Bytes, start: int, end: int, out: UInt64s, first: int) -> tuple[Any, Any]:
    """Hashes of the tokens from byte `start` on into out[first:]: where it stopped, and where `out` ends.

    It stops between tokens. Branch-free but for the kind of byte: a word's hash is written at every
    byte that ends one, and counts only if there was one (300 MB/s against 230 with an inner loop).
    """
    i, stop, n = np.uint64(start), np.uint64(end), np.uint64(first)
    full = np.uint64(len(out) - 2)
    h, inside = np.uint64(_BASIS), False
    while i < stop and (n < full or inside):
        byte = _BYTES[data[i]]
        i += np.uint64(1)
        if byte & np.uint64(_WORD):
            h = (h ^ (byte & np.uint64(_LOW))) * np.uint64(_PRIME)
            inside = True
        else:
            out[n] = _mix(h)
            n += np.uint64(inside)
            out[n] = _mix((np.uint64(_BASIS) ^ (byte & np.uint64(_LOW))) * np.uint64(_PRIME))
            n += byte >> np.uint64(9)
            h, inside = np.uint64(_BASIS), False
    if inside:
        out[n] = _mix(h)
        n += np.uint64(1)
    return np.int64(i), np.int64(n)


@kernel
def _lengthen(grams: UInt64s, tokens: UInt64s, order: int, end: int) -> None:
    """Turns the hashes of (order - 1)-grams, each at its last token, into those of order-grams."""
    for j in range(end - 1, order - 2, -1):
        grams[j] = _mix(grams[j - 1] * np.uint64(_CHAIN) + tokens[j])


@inlined
def _bucket(gram: np.uint64, buckets: np.uint64) -> np.uint64:
    return ((gram >> np.uint64(32)) * buckets) >> np.uint64(32)


@kernel
def _scan(
    data: Bytes, start: int, end: int, wanted: Flags, scratch: UInt64s, counts: Int64s, table: Floats
) -> tuple[float, int]:
    """Counts one text's n-grams into `counts`, or sums `table` over their buckets if it is not empty."""
    tokens, grams = scratch[0], scratch[1]
    total, found, buckets = 0.0, 0, np.uint64(max(len(counts), len(table)))
    i, kept, longest = start, 0, len(wanted)
    while i < end:
        i, last = _read_tokens(data, i, end, tokens, kept)
        grams[:last] = tokens[:last]
        for order in range(1, longest + 1):
            if order > 1:
                _lengthen(grams, tokens, order, last)
            if wanted[order - 1]:
                first = max(kept, order - 1)
                found += max(last - first, 0)
                for j in range(first, last):
                    b = _bucket(grams[j], buckets)
                    if len(table):
                        total += table[b]
                    else:
                        counts[b] += 1
        old, kept = last, min(longest - 1, last)
        tokens[:kept] = tokens[old - kept : old].copy()
    return total, found


@kernel
def count_ngrams(data: Bytes, starts: Int64s, ends: Int64s, wanted: Flags, buckets: int) -> Int64s:
    """(buckets,) how many n-grams of the texts data[starts[r]:ends[r]] fall into each bucket.

    wanted: (longest,) bool, whether the n-grams of order 1, 2, ... count.
    """
    counts, table = np.zeros(buckets, np.int64), np.zeros(0)
    scratch = np.empty((2, _SCRATCH + len(wanted)), np.uint64)
    for row in range(len(starts)):
        _scan(data, starts[row], ends[row], wanted, scratch, counts, table)
    return counts


@kernel
def sum_ngrams(
    data: Bytes, starts: Int64s, ends: Int64s, wanted: Flags, table: Floats
) -> tuple[Floats, Int64s]:
    """(rows,) the sum of table[bucket] over each text's n-grams, and their number.

    The order of summation depends on the text alone: piece by piece of about 4,096 tokens, in each
    order by order.
    """
    sums, found, counts = np.zeros(len(starts)), np.zeros(len(starts), np.int64), np.zeros(0, np.int64)
    scratch = np.empty((2, _SCRATCH + len(wanted)), np.uint64)
    for row in range(len(starts)):
        sums[row], found[row] = _scan(data, starts[row], ends[row], wanted, scratch, counts, table)
    return sums, found


def orders_wanted(orders: tuple[int, ...]) -> Flags:
    """(longest,) bool: (1, 3) -> [True, False, True]."""
    return np.isin(np.arange(1, max(orders) + 1), orders)


def reference_tokens(text: bytes) -> Iterator[bytes]:
    """The tokens of one text, in plain Python."""
    word = b""
    for byte in text.lower():
        if byte >= 0x80 or chr(byte).isalnum():
            word += bytes([byte])
            continue
        if word:
            yield word
        word = b""
        if byte not in b"\t\n\v\f\r ":
            yield bytes([byte])
    if word:
        yield word


def reference_buckets(text: bytes, orders: tuple[int, ...], buckets: int) -> list[int]:
    """The bucket of each n-gram of one text, order by order, in plain Python."""
    mask, tokens = (1 << 64) - 1, [_reference_hash(token) for token in reference_tokens(text)]
    out = []
    for order in orders:
        for i in range(len(tokens) - order + 1):
            gram = tokens[i]
            for token in tokens[i + 1 : i + order]:
                gram = _reference_mix((gram * _CHAIN + token) & mask)
            out.append(((gram >> 32) * buckets) >> 32)
    return out


def _reference_hash(token: bytes) -> int:
    h = _BASIS
    for byte in token:
        h = ((h ^ byte) * _PRIME) & ((1 << 64) - 1)
    return _reference_mix(h)


def _reference_mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * _MIX1) & ((1 << 64) - 1)
    x = ((x ^ (x >> 27)) * _MIX2) & ((1 << 64) - 1)
    return x ^ (x >> 31)
