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
_SLOW = 255


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
def _grow(table: Any, size: int, out: Any, count: int) -> int:
    """Makes the open-addressing set four times as large and puts out[:count] in again."""
    size *= 4
    table[:size] = _ZERO
    mask = np.uint64(size - 1)
    for i in range(count):
        at = out[i] & mask
        while table[at] != _ZERO:
            at = (at + _ONE) & mask
        table[at] = out[i]
    return size


@njit(nogil=True, cache=True, inline="always")
def _push(state: Any, chunk: Any, length: Any, byte: Any) -> Any:
    """A word's (state, chunk, length) after one more byte; every eighth folds the chunk."""
    chunk |= np.uint64(byte) << ((length & np.uint64(7)) * _EIGHT)
    length += _ONE
    if length & np.uint64(7) == _ZERO:
        return _fold(state, chunk), _ZERO, length
    return state, chunk, length


@njit(nogil=True, cache=True)
def _push_char(
    data: Any, start: int, i: int, end: int, zero: bool, tables: Any, word: Any, number_end: int
) -> Any:
    """A word (state, chunk, length) after the character at byte i, which is not plain ASCII; whether
    that ends words; the next byte; and where the last run of digits ended."""
    _, classes, lower, utf8 = tables
    state, chunk, length = word
    first, second, after = lower_at(data, start, i, end, classes, lower)
    if classes[first] & WORD == 0:
        return (state, chunk, length), True, after, number_end
    digit = zero and classes[first] & DIGIT != 0
    pieces = encode(_DIGIT_0 if digit else first, utf8, 0)
    for k in range(0 if digit and number_end == i else pieces):
        state, chunk, length = _push(state, chunk, length, utf8[k])
    # A second code point is the combining dot of U+0130, which is no word character.
    return (state, chunk, length), second != 0, after, after if digit else number_end


@njit(nogil=True, cache=True)
def shingle_set(
    data: Any, start: int, end: int, zero: bool, tables: Any, ring: Any, table: Any, out: Any
) -> Any:
    """(shingles, tokens): writes the distinct shingle hashes of data[start:end] to out, in order of
    first appearance.

    Tokens are the maximal runs of `\\w` in the lower-cased text. zero: every run of decimal digits
    inside a token reads as one `0`. A text of 1 to n tokens is one shingle; without tokens it has
    none. tables: `word_tables(zero)`. ring: (n,) uint64, n words a shingle. table, out: `scratch_cells`.
    One loop without calls that pass arrays: such a call a word halves the speed (reference counts).
    """
    ascii_words, ngram, number_end = tables[0], len(ring), start - 1
    power = _ONE
    for slot in range(ngram):
        power *= _GRAM_STEP
        ring[slot] = _ZERO
    size, count, tokens, slot, gram = _SMALL_TABLE, 0, 0, 0, _ZERO
    table[:size] = _ZERO
    state, chunk, length = _WORD_START, _ZERO, _ZERO
    i = start
    while i <= end:
        char = ascii_words[data[i]] if i < end else np.uint8(0)
        if char == _SLOW:
            word = (state, chunk, length)
            word, ends, i, number_end = _push_char(data, start, i, end, zero, tables, word, number_end)
            state, chunk, length = word
            if not ends:
                continue
        else:
            i += 1
            if char != 0:
                state, chunk, length = _push(state, chunk, length, char)
                continue
        if length == _ZERO:
            continue
        hashed = mix(_fold(state, chunk) ^ length)
        state, chunk, length = _WORD_START, _ZERO, _ZERO
        # The polynomial of the last n words in _GRAM_STEP, mod 2^64: the oldest leaves, the new one enters.
        gram = gram * _GRAM_STEP + hashed - ring[slot] * power
        ring[slot] = hashed
        slot = slot + 1 if slot + 1 < ngram else 0
        tokens += 1
        if tokens < ngram:
            continue
        x = mix(gram)
        x = x if x != _ZERO else _ONE
        mask = np.uint64(size - 1)
        at = x & mask
        while table[at] != _ZERO and table[at] != x:
            at = (at + _ONE) & mask
        if table[at] == _ZERO:
            table[at] = out[count] = x
            count += 1
            if 2 * count > size:
                size = _grow(table, size, out, count)
    if 0 < tokens < ngram:
        x = mix(gram)
        out[0] = x if x != _ZERO else _ONE
        count = 1
    return count, tokens


def word_tables(zero: bool) -> Any:
    """(bytes, classes, lower case, scratch) as `shingle_set` takes them; a call's own, for the scratch.

    Bytes are a word byte's lower case, 0 for other ASCII, 255 for what takes the slow way: non-ASCII
    characters and, if numbers are zeroed, digits.
    """
    bytes_ = ascii_table().copy()
    if zero:
        bytes_[_DIGIT_0 : _DIGIT_0 + 10] = _SLOW
    return (bytes_, *case_tables(), np.empty(8, np.uint8))


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
