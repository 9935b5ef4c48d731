"""The form in which lines are compared: lower case, digits as 0, no punctuation, no accents, one space."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import inlined
from operators.kernels.lower import decode, encode

# In the table of bytes: what is written, and from bit 8 on what that is.
_IS_SPACE, _IS_GONE, _SLOW, _STOP = 1 << 8, 1 << 9, 1 << 10, 1 << 11
_ONE, _EIGHT, _NINE = np.uint64(1), np.uint64(8), np.uint64(9)
# In the table of code points: dropped; v <= _SEVERAL is row _SEVERAL - v of the table of several.
_GONE, _SEVERAL = -1, -2
_SPACE, _LINE_FEED = 32, 10
_LOW_PLANES, _TAGS, _TAGS_END = 0x30000, 0xE0000, 0xE1000  # planes with no character to change lie between
_HANGUL = range(0xAC00, 0xD7A4)
_IDEOGRAPHS = (range(0x3400, 0xA000), range(0xD800, 0xF900), range(0x20000, 0x2F800))  # and private use
_CHANGING = frozenset(["Mn", "Cc", "Cf", "Nd", "Zs", "Zl", "Zp", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"])

Tables = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.int32]]


class Form(NamedTuple):
    """Which differences between lines do not count."""

    case: bool = True
    numbers: bool = True
    punctuation: bool = True
    accents: bool = True


def form_tables(form: Form, lines: bool) -> Tables:
    """What becomes of a byte (256,) uint64, of a code point (0x31000,) int32, and (n, 3) int32 code points
    (0: none) for those that become several.

    lines: a line feed ends what is normalised; else it is white space.
    """
    points, several = _point_tables(form)
    bytes_ = np.full(256, _SLOW, np.uint64)
    bytes_[:128] = np.where(points[:128] == _GONE, _IS_GONE, points[:128])
    bytes_[:128] += np.where(points[:128] == _SPACE, _IS_SPACE, 0).astype(np.uint64)
    if lines:
        bytes_[_LINE_FEED] = _STOP
    return bytes_, points, several


@lru_cache
def _point_tables(form: Form) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The tables by code point, asked from this Python's Unicode data: 0.1 s."""
    points = np.arange(_LOW_PLANES + _TAGS_END - _TAGS, dtype=np.int32)
    points[_LOW_PLANES:] += _TAGS - _LOW_PLANES
    several: list[list[int]] = []
    for at, char in _maybe_changed(points):
        text = normal_character(char, form)
        if len(text) > 1:
            points[at] = _SEVERAL - len(several)
            several.append([ord(c) for c in text.ljust(3, "\0")])
        else:
            points[at] = ord(text) if text else _GONE
    extra = np.array(several, np.int32).reshape(-1, 3)
    if form.accents:
        syllable = np.arange(len(_HANGUL), dtype=np.int32)
        points[_HANGUL.start : _HANGUL.stop] = _SEVERAL - len(extra) - syllable
        extra = np.concatenate([extra, _jamo(syllable)])
    return points, extra


def _maybe_changed(points: npt.NDArray[np.int32]) -> list[tuple[int, str]]:
    """(place, character) of those that some form changes, and perhaps of some others."""
    some = np.ones(len(points), bool)
    for part in (*_IDEOGRAPHS, _HANGUL):
        some[part.start : part.stop] = False
    places = np.flatnonzero(some)
    chars = zip(places.tolist(), map(chr, points[places].tolist()), strict=True)
    kind, parts = unicodedata.category, unicodedata.decomposition
    return [
        (at, c)
        for at, c in chars
        if kind(c) in _CHANGING or parts(c) or c.isspace() or c.lower() != c or c == "ς"
    ]


def _jamo(syllable: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """(n, 3) code points into which Hangul syllables come apart (Unicode 3.12)."""
    tail = syllable % 28
    return np.stack(
        [
            0x1100 + syllable // 588,
            0x1161 + syllable % 588 // 28,
            np.where(tail > 0, 0x11A7 + tail, 0),
        ],
        axis=1,
    ).astype(np.int32)


def normal_character(char: str, form: Form) -> str:
    """What becomes of one character, before runs of spaces are squeezed."""
    if form.case:
        char = char.lower().replace("ς", "σ")
    if form.accents:
        char = "".join(c for c in unicodedata.normalize("NFD", char) if unicodedata.category(c) != "Mn")
    if form.numbers:
        char = "".join("0" if c.isdecimal() else c for c in char)
    char = "".join(" " if c.isspace() else c for c in char)
    return "".join(c for c in char if not _punctuation(c)) if form.punctuation else char


def _punctuation(char: str) -> bool:
    kind = unicodedata.category(char)
    return kind[0] == "P" or kind in ("Cc", "Cf")


@inlined
def _push(point: Any, out: Any, at: Any, spaced: Any) -> Any:
    """Writes a code point, a space only behind something else; where the next goes, and if it was a space."""
    if point != _SPACE:
        here: Any = np.int64(at)
        return np.uint64(encode(point, out, here)), np.uint64(0)
    out[at] = _SPACE
    return at + (spaced ^ _ONE), _ONE


@inlined
def normalise(data: Any, start: int, end: int, tables: Tables, out: Any) -> Any:
    """Writes the form of data[start:end] as UTF-8 into out (3 bytes for each, and one more); its length,
    and the place of the line feed before which it stopped, or `end`.

    Each byte of invalid UTF-8 counts as U+FFFD. Unsigned numbers, as signed indices are checked for
    being negative: that and no branch for spaces make it twice as fast.
    """
    bytes_, points, several = tables
    at: Any = np.uint64(0)
    i: Any = np.uint64(start)
    spaced, stop = _ONE, np.uint64(end)
    while i < stop:
        byte = bytes_[data[i]]
        if byte < np.uint64(_SLOW):
            # Whatever is written counts only if it is kept.
            out[at] = byte
            space, gone = (byte >> _EIGHT) & _ONE, (byte >> _NINE) & _ONE
            at += (gone ^ _ONE) & ((space & spaced) ^ _ONE)
            spaced = space | (spaced & gone)
            i += _ONE
            continue
        if byte == np.uint64(_STOP):
            break
        here: Any = np.int64(i)
        point, after = decode(data, here, end)
        i = np.uint64(after)
        place = point
        if point >= _LOW_PLANES:
            place = point - _TAGS + _LOW_PLANES if _TAGS <= point < _TAGS_END else -1
        new = point if place < 0 else np.int64(points[place])
        if new >= 0:
            at, spaced = _push(new, out, at, spaced)
        elif new <= _SEVERAL:
            for k in range(3):
                if several[_SEVERAL - new, k] != 0:
                    at, spaced = _push(np.int64(several[_SEVERAL - new, k]), out, at, spaced)
    if at > np.uint64(0):
        at -= spaced
    return np.int64(at), np.int64(i)


def reference(text: str, form: Form) -> str:
    """The form of a text by Python's own strings."""
    return " ".join("".join(normal_character(char, form) for char in text).split())
