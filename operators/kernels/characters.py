"""Characters that clean text has few of, counted by their Unicode categories in Arrow buffers."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel
from operators.kernels.lower import REPLACEMENT, decode

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

# What is counted, a column each: all characters, those of five kinds, those of mojibake, words with a
# letter of an alphabet, and those with letters of two.
NAMES = (
    "characters", "control", "private_use", "replacement", "unassigned", "symbols", "mojibake", "words",
    "mixed_words",
)  # fmt: skip
_CHARACTERS, _CONTROL, _PRIVATE, _REPLACEMENT, _UNASSIGNED, _SYMBOL, _MOJIBAKE, _WORDS, _MIXED = range(9)
_KINDS = {
    "Cc": _CONTROL,
    "Co": _PRIVATE,
    "Cn": _UNASSIGNED,
    **dict.fromkeys(("Sm", "Sc", "Sk", "So"), _SYMBOL),
}
_KIND, _INSIDE, _ALPHABETS = 7, 8, 0xFFF0  # bits of a code point's class
_NO_CONTROL = "\t\n\r"
# Alphabets whose letters stand in for each other's look-alikes, as the names of their letters begin.
SCRIPTS = (
    "LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC", "CHEROKEE", "COPTIC",
)  # fmt: skip
_PLANES = ((0, 0x33480), (0xE0000, 0xE1000))  # all other planes are unassigned, or private use (15 and 16)

# UTF-8 that was read as Windows-1252 or Latin-1. A lead byte, how many follow, and which one next (0: any):
# those of Latin, Greek, Cyrillic and Arabic letters, punctuation, the byte order mark, emoji. The others are
# left out, because they are letters that other such characters follow in clean text too (`Spaß“`).
_LEADS = {
    **dict.fromkeys((0xC2, 0xC3, 0xC4, 0xC5, 0xCE, 0xCF, 0xD0, 0xD1, 0xD8, 0xD9), (1, 0)),
    0xE2: (2, 0),
    0xEF: (2, 0xBB),
    0xF0: (3, 0x9F),
}
_BYTES = 0x2200  # Windows-1252 has no character beyond
_PATTERN = re.compile(
    rb"[\xc2-\xc5\xce\xcf\xd0\xd1\xd8\xd9][\x80-\xbf]|\xe2[\x80-\xbf]{2}|\xef\xbb[\x80-\xbf]|\xf0\x9f[\x80-\xbf]{2}"
)


@lru_cache(maxsize=1)
def classes() -> npt.NDArray[np.uint16]:
    """(0x110000,) uint16 by code point, from this Python's Unicode data (0.1 s): the kind in three bits,
    whether it is inside words (letters, numbers, marks), and a bit for the alphabet of a letter."""
    table = np.full(0x110000, _UNASSIGNED, np.uint16)
    table[0xF0000:] = _PRIVATE
    table[[0xFFFFE, 0xFFFFF, 0x10FFFE, 0x10FFFF]] = _UNASSIGNED
    for first, last in _PLANES:
        for point in range(first, last):
            table[point] = _class(chr(point))
    table[REPLACEMENT] = _REPLACEMENT
    return table


def _class(char: str) -> int:
    kind = unicodedata.category(char)
    if kind[0] == "L":
        script = unicodedata.name(char, "").partition(" ")[0]
        return _INSIDE | (16 << SCRIPTS.index(script) if script in SCRIPTS else 0)
    if kind[0] in "MN":
        return _INSIDE
    return 0 if char in _NO_CONTROL else _KINDS.get(kind, 0)


@lru_cache(maxsize=1)
def _mojibake_tables() -> tuple[Bytes, Bytes, Bytes]:
    """(the byte that a code point is in Windows-1252 or Latin-1 from 0x80 on, 0 for others; how many bytes
    follow a lead byte; the first of them, 0 for any)."""
    bytes_ = np.zeros(_BYTES, np.uint8)
    bytes_[0x80:0x100] = np.arange(0x80, 0x100)
    for byte in range(0x80, 0xA0):
        char = bytes([byte]).decode("cp1252", "ignore")
        if char:
            bytes_[ord(char)] = byte
    follow, second = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    for lead, (many, first) in _LEADS.items():
        follow[lead], second[lead] = many, first
    return bytes_, follow, second


def count_characters(data: Bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """(n, len(NAMES)) counts of n texts; each byte of invalid UTF-8 is a replacement character."""
    counts = np.zeros((len(starts), len(NAMES)), np.int64)
    _count(data, starts, ends, classes(), _mojibake_tables(), counts)
    return counts


@kernel
def _count(data: Any, starts: Any, ends: Any, classes: Any, mojibake: Any, counts: Any) -> None:
    bytes_, follow, second = mojibake
    for text in range(len(starts)):
        i, end = starts[text], ends[text]
        letters, read = 0, 0
        due: Any = np.int64(0)
        next_: Any = np.int64(0)
        while i <= end:
            kind: Any = np.int64(0)  # behind the end: no part of a word
            byte, after = np.uint8(0), i + 1
            if i < end:
                point = np.int64(data[i])
                if point >= 0x80:
                    point, after = decode(data, i, end)
                    byte = bytes_[point] if point < len(bytes_) else np.uint8(0)
                kind = np.int64(classes[point])
                counts[text, _CHARACTERS] += 1
                if kind & _KIND:
                    counts[text, kind & _KIND] += 1
            if kind & _INSIDE:
                letters |= kind & _ALPHABETS
            elif letters:
                counts[text, _WORDS] += 1
                counts[text, _MIXED] += letters & (letters - 1) != 0
                letters = 0
            if due > 0 and 0x80 <= byte < 0xC0 and (next_ == 0 or byte == next_):
                due, read, next_ = due - 1, read + 1, 0
                if due == 0:
                    counts[text, _MOJIBAKE] += read
            else:
                due, read, next_ = np.int64(follow[byte]), 1, np.int64(second[byte])
            i = after


def reference(text: str) -> dict[str, int]:
    """The counts of one text by Python's own strings and `unicodedata`."""
    kinds = [unicodedata.category(char) for char in text]
    pairs = list(zip(text, kinds, strict=True))
    inside = "".join(char if kind[0] in "LMN" else " " for char, kind in pairs)
    alphabets = [
        {unicodedata.name(char, "").split(" ")[0] for char in word if unicodedata.category(char)[0] == "L"}
        & set(SCRIPTS)
        for word in inside.split(" ")
    ]
    old = b"".join(_old_byte(char) for char in text)
    counts = (
        len(text),
        sum(kind == "Cc" and char not in "\t\n\r" for char, kind in pairs),
        kinds.count("Co"),
        text.count("\ufffd"),
        kinds.count("Cn"),
        sum(kind[0] == "S" and char != "\ufffd" for char, kind in pairs),
        sum(map(len, _PATTERN.findall(old))),
        sum(bool(found) for found in alphabets),
        sum(len(found) > 1 for found in alphabets),
    )
    return dict(zip(NAMES, counts, strict=True))


def _old_byte(char: str) -> bytes:
    """The character in Windows-1252, else in Latin-1; 0 where it is in neither."""
    for encoding in ("cp1252", "latin-1"):
        old = char.encode(encoding, "ignore")
        if old and char >= "\x80":
            return old
    return b"\0"
