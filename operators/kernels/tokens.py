"""Cuts UTF-8 bytes into tokens that may be cut out one by one, each with 128 bits of hash."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels import lower as points
from operators.kernels.jit import inlined, kernel, part
from operators.kernels.lower import case_tables, decode, encode
from operators.kernels.shingles import mix

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

# What a character does to the token before it.
SYMBOL, SPACE, WORD, SINGLE, MARK, JOINER = 0, 1, 2, 3, 4, 5
_NOT_ASCII = 255
_FINAL_SIGMA, _SIGMA = 0x3C2, 0x3C3

# Letters of scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, New Tai Lue, Tai Tham,
# kana and bopomofo, Han, Yi, further Myanmar and Tai Viet, and the Han and kana of the planes 1 to 3.
_SINGLES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1980, 0x1AAF), (0x2E80, 0x2FDF),
    (0x3003, 0x312F), (0x3190, 0x4DBF), (0x4E00, 0xA4CF), (0xA9E0, 0xA9FF), (0xAA60, 0xAADF),
    (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
_ZWNJ, _ZWJ = 0x200C, 0x200D
_SKIN_TONES, _TAGS, _FLAG_LETTERS = (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F), (0x1F1E6, 0x1F1FF)

_LOW_START, _LOW_STEP = np.uint64(0x452821E638D01377), np.uint64(0x9FB21C651E98DF25)
_HIGH_START, _HIGH_STEP = np.uint64(0xBE5466CF34E90C6C), np.uint64(0xD1342543DE82EF95)
_ZERO, _ONE, _SEVEN, _EIGHT = np.uint64(0), np.uint64(1), np.uint64(7), np.uint64(8)


@lru_cache(maxsize=1)
def token_classes() -> npt.NDArray[np.uint8]:
    """(0x110000,) uint8 by code point: SYMBOL, SPACE, WORD, SINGLE, MARK or JOINER.

    Words are made of what Python's `\\w` matches; marks are Unicode's category M and what else only
    modifies the character before it, so that no cut tears a letter from its accent or an emoji apart.
    """
    bits, _ = case_tables()
    classes = np.zeros(0x110000, np.uint8)
    classes[bits & points.WORD != 0] = WORD
    classes[bits & points.SPACE != 0] = SPACE
    for first, last in _SINGLES:
        block = classes[first : last + 1]
        block[block == WORD] = SINGLE
    for point in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(point))[0] == "M":
            classes[point] = MARK
    classes[[_ZWNJ, *range(_SKIN_TONES[0], _SKIN_TONES[1] + 1), *range(_TAGS[0], _TAGS[1] + 1)]] = MARK
    classes[_FLAG_LETTERS[0] : _FLAG_LETTERS[1] + 1] = WORD
    classes[_ZWJ] = JOINER
    return classes


def token_tables(fold: bool) -> Any:
    """(class of an ASCII byte, 255 for others; class of a code point; its lower case, none without
    `fold`; scratch) as `tokenise` takes them; a call's own, for the scratch."""
    classes = token_classes()
    kinds = np.full(256, _NOT_ASCII, np.uint8)
    kinds[:128] = classes[:128]
    small = np.zeros(0, np.int32)
    if fold:
        small = case_tables()[1].copy()
        small[_FINAL_SIGMA] = _SIGMA  # lower case without context: a word's last sigma is like any other
    return kinds, classes, small, np.empty(4, np.uint8)


@inlined
def _fold(low: Any, high: Any, chunk: Any) -> Any:
    """Both halves of a token's hash after eight more bytes."""
    low = (low ^ chunk) * _LOW_STEP
    high = (high ^ chunk) * _HIGH_STEP
    return low ^ (low >> np.uint64(32)), high ^ (high >> np.uint64(29))


@inlined
def _eight(data: Any, i: Any) -> Any:
    """data[i : i + 8] as a number, little end first; with unsigned indices one load."""
    low = np.uint64(data[i]) | np.uint64(data[i + _ONE]) << _EIGHT
    low |= np.uint64(data[i + np.uint64(2)]) << np.uint64(16)
    low |= np.uint64(data[i + np.uint64(3)]) << np.uint64(24)
    low |= np.uint64(data[i + np.uint64(4)]) << np.uint64(32)
    low |= np.uint64(data[i + np.uint64(5)]) << np.uint64(40)
    low |= np.uint64(data[i + np.uint64(6)]) << np.uint64(48)
    return low | np.uint64(data[i + _SEVEN]) << np.uint64(56)


@part
def _lowered_chunks(data: Any, i: int, last: int, small: Any, utf8: Any) -> Any:
    """A token's (low, high, last chunk, bytes) from its characters in lower case."""
    low, high, chunk, length = _LOW_START, _HIGH_START, _ZERO, _ZERO
    while i < last:
        point, after = decode(data, i, last)
        pieces = 0
        if point < len(small) and small[point] != point:
            pieces = encode(small[point], utf8, 0)
        else:
            for k in range(i, after):
                utf8[k - i] = data[k]
            pieces = after - i
        for k in range(pieces):
            chunk |= np.uint64(utf8[k]) << ((length & _SEVEN) * _EIGHT)
            length += _ONE
            if length & _SEVEN == _ZERO:
                low, high = _fold(low, high, chunk)
                chunk = _ZERO
        i = after
    return low, high, chunk, length


@part
def _token_end(data: Any, i: int, end: int, classes: Any) -> Any:
    """Where the token that begins with the character at byte i ends, or where white space there does;
    and whether it is white space."""
    point, i = decode(data, i, end)
    kind = classes[point]
    if kind == SPACE:
        return i, True
    first_kind, first_point, joined = kind, point, kind == JOINER
    while i < end:
        point, after = decode(data, i, end)
        kind = classes[point]
        if not (
            kind >= MARK
            or (joined and kind != SPACE)
            or (kind == WORD and first_kind == WORD)
            or (kind == SYMBOL and point == first_point)
        ):
            break
        joined = kind == JOINER
        i = after
    return i, False


@kernel
def tokenise(data: Any, start: int, end: int, tables: Any, out: Any) -> int:
    """Writes the tokens of data[start:end] to out and returns how many there are.

    A token is a maximal run of word characters, one character of a script without spaces, or a run of
    one and the same other character; marks belong to the token before them, and a joiner draws the
    next character in as well. White space is between tokens. An invalid byte counts as U+FFFD.
    out: low, high (uint64) halves of the hash of the token's bytes; first, last (int32): its bytes are
    data[start + first : start + last]. As many cells as there are bytes are enough.
    """
    kinds, classes, small, utf8 = tables
    low, high, first, last = out
    fold, safe, count = len(small) > 0, len(data) - 8, 0
    i, stop = np.uint64(start), np.uint64(end)  # a signed index is checked for being negative
    while i < stop:
        begin, byte = i, data[i]
        kind = kinds[byte]
        i += _ONE
        if kind == SPACE:
            continue
        if kind == WORD:
            while i < stop and kinds[data[i]] == WORD:
                i += _ONE
        elif kind == SYMBOL:
            while i < stop and data[i] == byte:
                i += _ONE
        if kind == _NOT_ASCII or (i < stop and kinds[data[i]] == _NOT_ASCII):
            after, blank = _token_end(data, np.int64(begin), end, classes)
            i = np.uint64(after)
            if blank:
                continue
        at, length = begin, i - begin
        a, b, chunk = _LOW_START, _HIGH_START, _ZERO
        if fold:
            a, b, chunk, length = _lowered_chunks(data, np.int64(begin), np.int64(i), small, utf8)
        else:
            while at + _EIGHT <= i:
                a, b = _fold(a, b, _eight(data, at))
                at += _EIGHT
            if np.int64(at) <= safe:
                chunk = _eight(data, at) & ((_ONE << (length & _SEVEN) * _EIGHT) - _ONE)
            else:
                for k in range(at, i):
                    chunk |= np.uint64(data[k]) << ((np.uint64(k) - at) * _EIGHT)
        a, b = _fold(a, b, chunk)
        low[count], high[count] = mix(a ^ length), mix(b + length)
        first[count], last[count] = np.int64(begin) - start, np.int64(i) - start
        count += 1
    return count


def reference(text: bytes, fold: bool = False) -> list[bytes]:
    """The tokens, character by character in Python strings; for valid UTF-8."""
    tokens: list[str] = []
    opened, same, joined = None, "", False
    for char in text.decode():
        kind = _kind_reference(char)
        goes_on = kind in "MJ" or joined or (kind == opened == "W") or (kind == "S" and char == same)
        if kind == " ":
            opened, same = None, ""
        elif opened and goes_on:
            tokens[-1] += char
        else:
            tokens.append(char)
            opened, same = kind, char if kind == "S" else ""
        joined = kind == "J"
    lowered = ("".join(_lower_reference(c) for c in token) if fold else token for token in tokens)
    return [token.encode() for token in lowered]


def _kind_reference(char: str) -> str:
    point = ord(char)
    if char.isspace():
        return " "
    if point == _ZWJ:
        return "J"
    attached = (_SKIN_TONES, _TAGS, (_ZWNJ, _ZWNJ))
    if unicodedata.category(char)[0] == "M" or any(a <= point <= b for a, b in attached):
        return "M"
    if char.isalnum() and any(a <= point <= b for a, b in _SINGLES):
        return "C"
    return "W" if char.isalnum() or char == "_" or _FLAG_LETTERS[0] <= point <= _FLAG_LETTERS[1] else "S"


def _lower_reference(char: str) -> str:
    return {"ς": "σ", "İ": "i"}.get(char, char.lower())
