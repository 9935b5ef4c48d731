"""Looking band keys up in a sorted file of keys, and comparing what they lead to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

_WORD = np.uint64(64)


def cell_bits(entries: int) -> int:
    """The bits of a key that choose its cell, so that a cell holds 8 to 16 keys: a lookup costs one
    access to the directory of cells and one to the keys, however many there are."""
    return max(1, entries.bit_length() - 4)


def cell_starts(keys: UInt64s, skip: int, bits: int) -> npt.NDArray[np.uint32]:
    """(2**bits + 1,) where each cell begins in ascending keys. skip: leading bits that all keys share."""
    cells = (keys << np.uint64(skip)) >> np.uint64(64 - bits)
    return np.searchsorted(cells, np.arange(2**bits + 1, dtype=np.uint64)).astype(np.uint32)


@kernel
def _find(keys: Any, cells: Any, skip: Any, bits: Any, queries: Any, first: Any, counts: Any) -> None:
    entries = np.int64(len(keys))
    for q in range(len(queries)):
        key = queries[q]
        cell = (key << skip) >> (_WORD - bits)
        low, high = min(np.int64(cells[cell]), entries), min(np.int64(cells[cell + np.uint64(1)]), entries)
        end = high
        while low < high:
            middle = (low + high) >> 1
            if keys[middle] < key:
                low = middle + 1
            else:
                high = middle
        first[q] = low
        while low < end and keys[low] == key:
            low += 1
        counts[q] = low - first[q]


def find(keys: UInt64s, cells: npt.NDArray[np.uint32], skip: int, queries: UInt64s) -> tuple[Int64s, Int64s]:
    """(first, counts), (n,) each: query i stands at keys[first[i] : first[i] + counts[i]].

    keys: ascending. cells: their `cell_starts` for the same `skip`."""
    first, counts = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    bits = (len(cells) - 1).bit_length() - 1
    _find(keys, cells, np.uint64(skip), np.uint64(bits), queries, first, counts)
    return first, counts


@kernel
def equal_bytes(a: Any, row_a: Any, b: Any, row_b: Any, out: Any) -> None:
    """out[i] = how many bytes of a[row_a[i]] equal those of b[row_b[i]]; a, b: (rows, bytes) uint8."""
    for i in range(len(row_a)):
        one, two, equal = a[row_a[i]], b[row_b[i]], np.int32(0)
        for j in range(len(one)):
            equal += np.int32(one[j] == two[j])
        out[i] = equal


@kernel
def common(
    offsets_a: Any, hashes_a: Any, row_a: Any, offsets_b: Any, hashes_b: Any, row_b: Any, out: Any
) -> None:
    """out[i] = how many numbers set row_a[i] of a and set row_b[i] of b share.

    Set r is hashes[offsets[r] : offsets[r + 1]], ascending and distinct."""
    for i in range(len(row_a)):
        j, end_j = offsets_a[row_a[i]], offsets_a[row_a[i] + 1]
        k, end_k = offsets_b[row_b[i]], offsets_b[row_b[i] + 1]
        both = 0
        while j < end_j and k < end_k:
            x, y = hashes_a[j], hashes_b[k]
            both += x == y
            j += x <= y
            k += y <= x
        out[i] = both
