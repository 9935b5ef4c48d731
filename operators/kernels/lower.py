"""Lower-casing and character classes of UTF-8 bytes, equal to Python's `str.lower` and `re`'s `\\w`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel

# Bits of a code point's class.
WORD, SPACE, CASED, IGNORABLE, DIGIT = 1, 2, 4, 8, 16

REPLACEMENT = 0xFFFD  # what an invalid byte counts as: no word, no space, no letter
I_DOT, SIGMA, _FINAL_SIGMA = 0x130, 0x3A3, 0x3C2
_I, _COMBINING_DOT = 0x69, 0x307
_LETTER_PLANES = 0x40000  # no character beyond plane 3 is a letter, a digit or white space
CASE_PLANES = 0x20000  # no character beyond plane 1 has a case; plane 14 has ignorable ones

Tables = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]


@lru_cache(maxsize=1)
def case_tables() -> Tables:
    """Class bits (0x110000,) uint8 and lower case (0x20000,) int32 by code point, asked from this Python.

    The final-sigma context (Unicode 3.13, `Cased` and `Case_Ignorable`) is read off what
    `str.lower` makes of a sigma behind the character: behind a cased one that is not ignorable it
    is final, behind 'A' and the character it is final for a cased or an ignorable one.
    """
    every = np.arange(_LETTER_PLANES, dtype=np.uint32)
    every[0xD800:0xE000] = REPLACEMENT
    classes, chars = np.zeros(0x110000, np.uint8), every.view("<U1")
    known = classes[:_LETTER_PLANES]
    known[np.strings.isalnum(chars) | (every == ord("_"))] |= WORD
    known[np.strings.isspace(chars)] |= SPACE
    known[np.strings.isdecimal(chars)] |= DIGIT
    tags = np.arange(0xE0000, 0xE1000, dtype=np.uint32)
    for points, bits in ((every[:CASE_PLANES], known[:CASE_PLANES]), (tags, classes[0xE0000:0xE1000])):
        cased, either = _sigma_is_final(points, ""), _sigma_is_final(points, "A")
        bits |= np.where(cased, CASED, np.where(either, IGNORABLE, 0)).astype(np.uint8)
    lower = every[:CASE_PLANES].copy()
    lower[I_DOT] = lower[SIGMA] = ord("x")
    text = lower.tobytes().decode("utf-32-le").lower()
    small = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int32)
    small[I_DOT], small[SIGMA] = _I, 0x3C3
    return classes, small


def _sigma_is_final(every: npt.NDArray[np.uint32], before: str) -> npt.NDArray[np.bool_]:
    """Whether a sigma behind `before` and each code point would be lower-cased as a final one."""
    plain = np.where(every == I_DOT, ord("I"), every)
    cells = np.full((len(plain), len(before) + 3), ord(" "), np.uint32)
    cells[:, : len(before)] = [ord(c) for c in before]
    cells[:, -3], cells[:, -2] = plain, SIGMA
    lowered = cells.tobytes().decode("utf-32-le").lower().encode("utf-32-le")
    return np.frombuffer(lowered, np.uint32).reshape(cells.shape)[:, -2] == _FINAL_SIGMA


@kernel
def decode(data: Any, i: int, end: int) -> Any:
    """The code point at byte i and where the next begins; one invalid byte counts as U+FFFD."""
    c: Any = np.int64(data[i])
    if c < 0x80:
        return c, i + 1
    need: Any = 0
    point: Any = np.int64(0)
    least: Any = np.int64(0)
    if 0xC2 <= c < 0xE0:
        need, point, least = 1, c & 0x1F, 0x80
    elif 0xE0 <= c < 0xF0:
        need, point, least = 2, c & 0x0F, 0x800
    elif 0xF0 <= c < 0xF5:
        need, point, least = 3, c & 0x07, 0x10000
    if need == 0 or i + need >= end:
        return REPLACEMENT, i + 1
    for k in range(1, need + 1):
        follower = np.int64(data[i + k])
        if follower & 0xC0 != 0x80:
            return REPLACEMENT, i + 1
        point = (point << 6) | (follower & 0x3F)
    if point < least or point > 0x10FFFF or 0xD800 <= point < 0xE000:
        return REPLACEMENT, i + 1
    return point, i + need + 1


@kernel
def _before(data: Any, start: int, i: int, end: int) -> Any:
    """The code point that ends at byte i and where it begins."""
    for back in range(1, 5):
        if i - back < start:
            break
        if data[i - back] & 0xC0 != 0x80:
            point, after = decode(data, i - back, end)
            return (point, i - back) if after == i else (np.int64(REPLACEMENT), i - 1)
    return np.int64(REPLACEMENT), i - 1


@kernel
def _lower_sigma(data: Any, start: int, i: int, after: int, end: int, classes: Any) -> Any:
    """The lower case of a capital sigma at byte i: final behind a cased letter and before none."""
    j: Any = i
    seen = False
    while j > start:
        point, j = _before(data, start, j, end)
        if classes[point] & IGNORABLE == 0:
            seen = classes[point] & CASED != 0
            break
    if not seen:
        return 0x3C3
    j = after
    while j < end:
        point, j = decode(data, j, end)
        if classes[point] & IGNORABLE == 0:
            return 0x3C3 if classes[point] & CASED != 0 else _FINAL_SIGMA
    return _FINAL_SIGMA


@kernel
def lower_at(data: Any, start: int, i: int, end: int, classes: Any, lower: Any) -> Any:
    """The lower case of the character at byte i of data[start:end]: one code point, a second one
    or 0 (only U+0130 has two), and where the next character begins."""
    point, after = decode(data, i, end)
    if point == SIGMA:
        return _lower_sigma(data, start, i, after, end, classes), 0, after
    if point == I_DOT:
        return np.int64(_I), _COMBINING_DOT, after
    if point < CASE_PLANES:
        return np.int64(lower[point]), 0, after
    return point, 0, after


@kernel
def encode(point: Any, out: Any, at: int) -> int:
    """Writes the code point as UTF-8 at out[at:] and returns where the next one goes."""
    if point < 0x80:
        out[at] = point
        return at + 1
    if point < 0x800:
        out[at] = 0xC0 | (point >> 6)
        out[at + 1] = 0x80 | (point & 0x3F)
        return at + 2
    if point < 0x10000:
        out[at] = 0xE0 | (point >> 12)
        out[at + 1] = 0x80 | ((point >> 6) & 0x3F)
        out[at + 2] = 0x80 | (point & 0x3F)
        return at + 3
    out[at] = 0xF0 | (point >> 18)
    out[at + 1] = 0x80 | ((point >> 12) & 0x3F)
    out[at + 2] = 0x80 | ((point >> 6) & 0x3F)
    out[at + 3] = 0x80 | (point & 0x3F)
    return at + 4


@kernel
def squeeze(data: Any, start: int, end: int, classes: Any, lower: Any, out: Any) -> int:
    """Writes `" ".join(text.lower().split())` as UTF-8 into out (three bytes for each of data[start:end]
    are enough) and returns its length."""
    at, i, gap = 0, start, False
    while i < end:
        first, second, i = lower_at(data, start, i, end, classes, lower)
        if classes[first] & SPACE != 0:
            gap = at > 0
            continue
        if gap:
            out[at] = 32
            at += 1
            gap = False
        at = encode(first, out, at)
        if second != 0:
            at = encode(second, out, at)
    return at
