"""Stable sorting of 64-bit keys by radix, for the messages of a shuffle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel, part
from operators.kernels.ordering import float64_order

UInt64s = npt.NDArray[np.uint64]
UInt32s = npt.NDArray[np.uint32]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_UPPER = np.uint64(40)  # well-mixed keys are nearly sorted by their upper 24 bits
_DIGIT = np.uint64(255)  # of 256 places to write to, all stay in the nearest cache
_FEW = 64


@part
def _pass(key: Any, order: Any, out_key: Any, out_order: Any, shift: Any, counts: Any) -> bool:
    """Distribute by the 8 bits from `shift` on, stably; False where all keys agree in them."""
    counts[:] = 0
    for i in range(len(key)):
        counts[(key[i] >> shift) & _DIGIT] += 1
    if len(key) == 0 or counts[(key[0] >> shift) & _DIGIT] == len(key):
        return False
    at = 0
    for digit in range(len(counts)):
        many = counts[digit]
        counts[digit] = at
        at += many
    for i in range(len(key)):
        digit = (key[i] >> shift) & _DIGIT
        place = counts[digit]
        counts[digit] = place + 1
        out_key[place] = key[i]
        out_order[place] = order[i]
    return True


@part
def _settle(key: Any, order: Any) -> bool:
    """Sort what is equal in the upper bits; False where too many are equal there and differ below."""
    start = 0
    for i in range(1, len(key)):
        if (key[i] ^ key[start]) >> _UPPER:
            start = i
        elif key[i] < key[i - 1]:
            if i - start > _FEW:
                return False
            moved, its, j = key[i], order[i], i
            while j > start and key[j - 1] > moved:
                key[j], order[j] = key[j - 1], order[j - 1]
                j -= 1
            key[j], order[j] = moved, its
    return True


@kernel
def _sort(key: Any, order: Any, spare_key: Any, spare_order: Any, counts: Any) -> bool:
    """Sort keys together with `order`; True where the result is in the spare arrays."""
    swapped = False
    for first in (40, 0):
        for shift in range(first, 64, 8):
            if _pass(key, order, spare_key, spare_order, np.uint64(shift), counts):
                key, order, spare_key, spare_order = spare_key, spare_order, key, order
                swapped = not swapped
        if _settle(key, order):
            break
    return swapped


@kernel
def _grouped(group: Any, ends: Any, order: Any) -> None:
    """Writes the places of each group's rows to `order`, and where in it each group ends to ends[1:]."""
    for i in range(len(group)):
        ends[group[i] + 2] += 1
    for g in range(1, len(ends)):
        ends[g] += ends[g - 1]
    for i in range(len(group)):
        place = ends[group[i] + 1]
        ends[group[i] + 1] = place + 1
        order[place] = i


@kernel
def _mixed(key: Any, out: Any) -> None:
    for i in range(len(key)):
        z = key[i] + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX1
        z = (z ^ (z >> np.uint64(27))) * _MIX2
        out[i] = z ^ (z >> np.uint64(31))


def mixed(key: UInt64s) -> UInt64s:
    """(n,) uint64: `counter.mix64` of each key, in one pass."""
    out = np.empty(len(key), np.uint64)
    _mixed(key, out)
    return out


def sort_order(columns: Sequence[npt.NDArray[Any]], spend: bool = False) -> UInt32s:
    """The stable order (n,) of rows by the columns, the first one foremost; n < 2**32. spend: the columns
    may be written to.

    Columns are numbers: integers ascend, and so do floats, with NaN last and -0.0 equal to 0.0.
    """
    n = len(columns[0])
    order, spare_order = np.arange(n, dtype=np.uint32), np.empty(n, np.uint32)
    spare_key, counts = np.empty(n, np.uint64), np.empty(256, np.int64)
    for number, column in enumerate(reversed(columns)):
        key = sortable(column) if number == 0 else sortable(column)[order]
        if key is column and not spend:
            key = column.copy()
        if _sort(key, order, spare_key, spare_order, counts):
            order, spare_order, spare_key = spare_order, order, key
    return order


def grouped(group: npt.NDArray[np.int32], groups: int) -> tuple[UInt32s, npt.NDArray[np.int64]]:
    """The stable order (n,) of rows by their group, 0 <= group < groups, in one pass; and where each
    group begins in it, and the end: (groups + 1,)."""
    ends, order = np.zeros(groups + 2, np.int64), np.empty(len(group), np.uint32)
    _grouped(group, ends, order)
    return order, ends[:-1]


def sortable(column: npt.NDArray[Any]) -> UInt64s:
    """(n,) uint64 that sort like the numbers of a column, NaN last."""
    if column.dtype == np.uint64:
        return np.ascontiguousarray(column)
    if column.dtype.kind in "bu":
        return column.astype(np.uint64)
    if column.dtype.kind == "i":
        return column.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)
    numbers = column.astype(np.float64)
    nan = np.isnan(numbers)
    return np.where(nan, np.uint64(2**64 - 1), float64_order(np.where(nan, 0.0, numbers)))


def reference(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """The same order by numpy."""
    return np.lexsort(columns[::-1])
