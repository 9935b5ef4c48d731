"""Counts whitespace-separated words in UTF-8 bytes, equal to `len(text.split())`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import inlined, kernel

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

_LEAD = 2  # the first byte of white space beyond ASCII, perhaps
_KIND = np.zeros(256, np.uint64)
_KIND[[9, 10, 11, 12, 13, 28, 29, 30, 31, 32]] = 1
_KIND[[0xC2, 0xE1, 0xE2, 0xE3]] = _LEAD


@inlined
def space_width(data: Bytes, i: np.uint64, end: np.uint64) -> int:
    """The bytes (2 or 3) of the white space that starts with the lead byte at i, 0 where none does.

    The characters for which `str.isspace` holds; a sequence cut short by `end` is none.
    """
    b = data[i]
    if b == 0xC2 and end - i > 1:  # U+0085, U+00A0
        return 2 if data[i + 1] == 0x85 or data[i + 1] == 0xA0 else 0
    if b != 0xC2 and end - i > 2:
        c, d = data[i + 1], data[i + 2]
        if b == 0xE1:  # U+1680
            return 3 if c == 0x9A and d == 0x80 else 0
        if b == 0xE3:  # U+3000
            return 3 if c == 0x80 and d == 0x80 else 0
        if c == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
            return 3 if 0x80 <= d <= 0x8A or d == 0xA8 or d == 0xA9 or d == 0xAF else 0
        return 3 if c == 0x81 and d == 0x9F else 0  # U+205F
    return 0


@kernel
def count_words(data: Bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """(n,) words of each text data[starts[i]:ends[i]]."""
    counts = np.zeros(len(starts), np.int64)
    for row in range(len(starts)):
        i, end = np.uint64(starts[row]), np.uint64(ends[row])
        words, outside = np.uint64(0), np.uint64(1)
        while i < end:
            kind = _KIND[data[i]]
            width = np.uint64(1)
            if kind == _LEAD:
                wide = space_width(data, i, end)
                kind = np.uint64(wide > 0)
                width = np.uint64(max(wide, 1))
            words += outside & (kind ^ np.uint64(1))
            outside = kind
            i += width
        counts[row] = words
    return counts
