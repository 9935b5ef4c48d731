"""The set of hashed word n-grams of a text, straight from its UTF-8 bytes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numba import njit

from operators.kernels.lower import DIGIT, WORD, ascii_table, case_tables, encode, lower_at

_WORD_START = np.uint64(0x243F6A8885A308D3)
_WORD_STEP = np.uint64(0x9FB21C651E98DF25)
_GRAM_STEP = np.uint64(0xD6E8FEB86659FD93)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ZERO, _ONE, _EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)
_SMALL_TABLE = 256
_DIGIT_0 = 48


@njit(nogil=True, cache=True, inline="always")
def mix(x: Any) -> Any:
    """The finaliser of SplitMix64: a bijection of uint64."""
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    return x ^ (x >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def _fold(state: Any, chunk: Any) -> Any:
    """A word's state after eight more of its bytes; a bijection of the chunk."""
    state = (state ^ chunk) * _WORD_STEP
    return state ^ (state >> np.uint64(32))


@njit(nogil=True, cache=True)
def _insert(x: Any, table: Any, size: int) -> bool:
    """Adds x, which is not 0, to an open-addressing set of `size` (a power of two) cells."""
    mask = np.uint64(size - 1)
    at = x & mask
    while table[at] != _ZERO:
        if table[at] == x:
            return False
        at = (at + _ONE) & mask
    table[at] = x
    return True


@njit(nogil=True, cache=True)
def _add(x: Any, table: Any, size: int, out: Any, count: int) -> tuple[int, int]:
    """Puts a shingle into the set and, if it is new, at out[count]; returns (count, table size)."""
    x = x if x != _ZERO else _ONE
    if not _insert(x, table, size):
        return count, size
    out[count] = x
    count += 1
    if 2 * count > size:
        size *= 4
        table[:size] = _ZERO
        for i in range(count):
            _insert(out[i], table, size)
    return count, size


@njit(nogil=True, cache=True)
def _gram(word: Any, ring: Any, power: Any, tokens: int, gram: Any) -> Any:
    """Rolls the n-gram: the polynomial of its words' hashes in _GRAM_STEP, mod 2^64."""
    slot = tokens % len(ring)
    gram = gram * _GRAM_STEP + word
    if tokens >= len(ring):
        gram -= ring[slot] * power
    ring[slot] = word
    return gram


@njit(nogil=True, cache=True, inline="always")
def _push(state: Any, chunk: Any, length: Any, byte: Any) -> Any:
    """A word's (state, chunk, length) after one more byte; every eighth folds the chunk."""
    chunk |= np.uint64(byte) << ((length & np.uint64(7)) * _EIGHT)
    length += _ONE
    if length & np.uint64(7) == _ZERO:
        return _fold(state, chunk), _ZERO, length
    return state, chunk, length


@njit(nogil=True, cache=True)
def next_word(
    data: Any, start: int, i: int, end: int, zero: bool, ascii_words: Any, classes: Any, lower: Any, utf8: Any
) -> Any:
    """(hash, length, next byte) of the first word of data[start:end] at or after byte i; its length
    in lower-cased bytes is 0 where there is none. utf8: (8,) uint8 scratch."""
    state, chunk, length = _WORD_START, _ZERO, _ZERO
    in_number = False
    while i < end:
        char = ascii_words[data[i]]
        if char == 0:
            i += 1
            if length != _ZERO:
                break
        elif char != 255:
            i += 1
            if zero:
                digit = char - np.uint8(_DIGIT_0) < 10
                if digit and in_number:
                    continue
                in_number = digit
                char = np.uint8(_DIGIT_0) if digit else char
            state, chunk, length = _push(state, chunk, length, char)
        else:
            first, second, i = lower_at(data, start, i, end, classes, lower)
            if classes[first] & WORD != 0:
                digit = zero and classes[first] & DIGIT != 0
                pieces = encode(_DIGIT_0 if digit else first, utf8, 0)
                for k in range(0 if digit and in_number else pieces):
                    state, chunk, length = _push(state, chunk, length, utf8[k])
                in_number = digit
            if length != _ZERO and (classes[first] & WORD == 0 or second != 0):
                break  # the second one is a combining dot, which is no word character
    return mix(_fold(state, chunk) ^ length), length, i


@njit(nogil=True, cache=True)
def shingle_set(
    data: Any, start: int, end: int, zero: bool, tables: Any, ring: Any, table: Any, out: Any, utf8: Any
) -> Any:
    """(shingles, tokens): writes the distinct shingle hashes of data[start:end] to out, in order of
    first appearance.

    Tokens are the maximal runs of `\\w` in the lower-cased text. zero: every run of decimal digits
    inside a token reads as one `0`. A text of 1 to n tokens is one shingle; without tokens it has
    none. tables: `word_tables`. ring: (n,) uint64, n words a shingle. table, out: `scratch_cells`.
    """
    ascii_words, classes, lower = tables
    power = _ONE
    for _ in range(len(ring)):
        power *= _GRAM_STEP
    size, count, tokens, gram = _SMALL_TABLE, 0, 0, _ZERO
    table[:size] = _ZERO
    i = start
    while True:
        word, length, i = next_word(data, start, i, end, zero, ascii_words, classes, lower, utf8)
        if length == _ZERO:
            break
        gram = _gram(word, ring, power, tokens, gram)
        tokens += 1
        if tokens >= len(ring):
            count, size = _add(mix(gram), table, size, out, count)
    if 0 < tokens < len(ring):
        count, size = _add(mix(gram), table, size, out, count)
    return count, tokens


def word_tables() -> Any:
    """(bytes, classes, lower case) as `shingle_set` takes them."""
    return (ascii_table(), *case_tables())


def scratch_cells(longest: int) -> tuple[int, int]:
    """Cells of `table` and `out` for a text of `longest` bytes; pages that are not needed stay untouched."""
    words = longest // 2 + 1
    size = _SMALL_TABLE
    while 2 * words > size:
        size *= 4
    return size, words


def tokens_reference(text: bytes, zero_numbers: bool = False) -> list[str]:
    """The tokens by Python's own regular expressions."""
    tokens = re.findall(r"\w+", text.decode("utf-8", "replace").lower())
    return [re.sub(r"\d+", "0", token) for token in tokens] if zero_numbers else tokens


def reference(text: bytes, ngram: int, zero_numbers: bool = False) -> set[int]:
    """The shingle hashes in Python integers."""
    words = [_word_reference(token.encode()) for token in tokens_reference(text, zero_numbers)]
    grams = [words[i : i + ngram] for i in range(max(1, len(words) - ngram + 1))] if words else []
    sums = [sum(w * int(_GRAM_STEP) ** k for k, w in enumerate(reversed(gram))) for gram in grams]
    return {_mix_reference(value % 2**64) or 1 for value in sums}


def _word_reference(word: bytes) -> int:
    state = int(_WORD_START)
    for i in range(0, len(word) // 8 * 8 + 1, 8):
        state = (state ^ int.from_bytes(word[i : i + 8], "little")) * int(_WORD_STEP) % 2**64
        state ^= state >> 32
    return _mix_reference(state ^ len(word))


def _mix_reference(x: int) -> int:
    x = (x ^ x >> 30) * int(_MIX1) % 2**64
    x = (x ^ x >> 27) * int(_MIX2) % 2**64
    return x ^ x >> 31
