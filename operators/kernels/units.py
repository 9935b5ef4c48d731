"""The units of a text (words, characters, token ids) as hashes, straight from its bytes.

A unit's hash folds its bytes, 16 at a time with zeros behind, by 64 x 64 -> 128 bit products. A word
holds no zero byte (NUL stands as C0 80), so different words are different sequences of blocks. These
hashes are part of stored signatures: other values need a new `shingles.SCHEME`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.jit import inlined, part
from operators.kernels.lower import (
    CASE_PLANES,
    DIGIT,
    I_DOT,
    REPLACEMENT,
    SIGMA,
    SPACE,
    WORD,
    case_tables,
    decode,
    encode,
    lower_at,
)
from operators.kernels.simd import (
    LANES,
    bit_count,
    eight_bytes,
    first_bit,
    fold_block,
    fold_product,
    nonzero_block,
)

WORDS, CHARACTERS, TOKENS = 0, 1, 2  # rules[0]; then fold, zero, punctuation: 255 or 0
CHUNK = 4096  # bytes that are read at once: what they become stays in the first-level cache
_ROOM = 3 * CHUNK + 4 * LANES  # lower-casing and separators make up to three bytes of one
_BLOCK = 16

START, STEP = np.uint64(0x243F6A8885A308D3), np.uint64(0x9FB21C651E98DF25)
_0, _1, _2, _8, _16 = (np.uint64(n) for n in (0, 1, 2, 8, 16))
_63, _LANES = np.uint64(LANES - 1), np.uint64(LANES)
_SPACE = np.uint64(32)
_DIGIT_0, _NUL_LEAD, _NUL_TAIL = 48, 0xC0, 0x80
_ALL = 2**64 - 1
# The bytes of a block that belong to a word with n bytes in it: its first eight, its last eight.
_FIRST = np.array([_ALL >> 8 * (8 - min(n, 8)) if n else 0 for n in range(_BLOCK + 1)], np.uint64)
_LAST = np.array([_ALL >> 8 * (16 - n) if n > 8 else 0 for n in range(_BLOCK + 1)], np.uint64)

# Places in the cursor: the next byte; bytes of a cut word that wait in `low`; where the last run of
# digits ended; whether characters came yet and white space behind them; units so far; and, as uint64
# bits, the state of a word that a chunk cut and the polynomial of the last n units.
AT, HELD, NUMBER_END, GAP, TOTAL, CUT, GRAM = range(7)
_NOTHING_YET, _NO_GAP, _SPACE_DUE = 0, 1, 2


def scratch(ngram: int) -> Any:
    """(low, edges, units, grams, cursor, classes, lower): what all calls of the kernels share.

    low: what a chunk is normalised to, the last 64 bytes apart. edges: where its words begin and end.
    units: `ngram` hashes of before, then those of this chunk. classes, lower: `case_tables`.
    """
    return (
        np.zeros(_ROOM + LANES, np.uint8),
        np.empty(_ROOM, np.int32),
        np.empty(ngram + _ROOM, np.uint64),
        np.empty(_ROOM, np.uint64),
        np.empty(7, np.int64),
        *case_tables(),
    )


@inlined
def rewind(start: int, ngram: int, scratch: Any) -> None:
    """Before the first chunk of the text that begins at byte `start`."""
    _, _, units, _, cursor, _, _ = scratch
    cursor[AT], cursor[HELD], cursor[NUMBER_END], cursor[GAP] = start, 0, -1, _NOTHING_YET
    cursor[TOTAL], cursor[CUT], cursor[GRAM] = 0, np.int64(START), 0
    for k in range(ngram):
        units[k] = _0


@inlined
def next_units(data: Any, start: int, end: int, rules: Any, ngram: int, scratch: Any) -> int:
    """Writes the hashes of the next chunk of data[start:end] to units[ngram:] and returns their number."""
    low, edges, units, _, cursor, classes, lower = scratch
    if rules[0] == WORDS:
        size = _read_words(data, start, end, rules, low, cursor, classes, lower)
        return _hash_words(_find_words(low, size, edges), size, end, ngram, low, edges, units, cursor)
    if rules[0] == CHARACTERS:
        return _hash_characters(data, start, end, rules, ngram, units, cursor, classes, lower)
    return _hash_tokens(data, end, ngram, units, cursor)


@part
def _read_words(
    data: Any, start: int, end: int, rules: Any, low: Any, cursor: Any, classes: Any, lower: Any
) -> int:
    """Writes the words of the next chunk to `low`, zeros between and behind them; returns its length."""
    _, fold, zero, punctuation = rules
    i, at, number_end = cursor[AT], cursor[HELD], cursor[NUMBER_END]
    stop = min(i + CHUNK, end)
    while i < stop:
        if i + LANES <= len(data):
            special = fold_block(data, i, low, at, fold, zero, punctuation)
        else:  # not so many bytes are there any more: read them at the end of `low`
            for k in range(end - i):
                low[_ROOM + k] = data[i + k]
            special = fold_block(low, _ROOM, low, at, fold, zero, punctuation)
        plain = min(np.int64(first_bit(special)), stop - i)
        i, at = i + plain, at + plain
        more = i < stop and plain < LANES
        while more:  # a character in the general way, and those beyond ASCII that follow
            first, second, after = _character(data, start, i, end, fold, classes, lower)
            kind = classes[first]
            if kind & WORD == 0:
                at = _read_other(first, kind, punctuation, low, at)
            elif not (zero and kind & DIGIT):
                at = encode(first, low, at)
            else:
                low[at] = _DIGIT_0
                at, number_end = at + (number_end != i), after
            if second:  # the combining dot of U+0130, which is no word character
                at = _read_other(second, classes[second], punctuation, low, at)
            i = after
            more = i < stop and (data[i] >= 0x80 or (zero and _DIGIT_0 <= data[i] < _DIGIT_0 + 10))
    for k in range(LANES):
        low[at + k] = 0
    cursor[AT], cursor[NUMBER_END] = i, number_end
    return at


@part
def _read_other(point: int, kind: int, punctuation: int, low: Any, at: int) -> int:
    """A zero for a character that is in no word; itself and two zeros if it is to be a word of its own."""
    low[at] = 0
    if not punctuation or kind & SPACE or point == REPLACEMENT:
        return at + 1
    if point == 0:
        low[at + 1], low[at + 2] = _NUL_LEAD, _NUL_TAIL
        at += 3
    else:
        at = encode(point, low, at + 1)
    low[at] = 0
    return at + 1


@inlined
def _character(data: Any, start: int, i: int, end: int, fold: int, classes: Any, lower: Any) -> Any:
    """(code point, a second one or 0, the next byte) of the character at byte i, lower-cased if asked.

    The first branches are those that text takes, without a call: one that passes arrays counts
    references, which costs more than all the rest."""
    lead = np.int64(data[i])
    point, after, second = lead, i + 1, 0
    if lead >= 0x80:
        one = np.int64(data[i + 1]) ^ 0x80 if i + 1 < end else 0xFF
        two = np.int64(data[i + 2]) ^ 0x80 if i + 2 < end else 0xFF
        if 0xC2 <= lead < 0xE0 and one < 0x40:
            point, after = (lead & 0x1F) << 6 | one, i + 2
        elif 0xE0 < lead < 0xF0 and lead != 0xED and one < 0x40 and two < 0x40:
            point, after = (lead & 0x0F) << 12 | one << 6 | two, i + 3
        else:
            point, after = decode(data, i, end)
    if fold:
        if point in (SIGMA, I_DOT):
            point, second, after = lower_at(data, start, i, end, classes, lower)
        elif point < CASE_PLANES:
            point = np.int64(lower[point])
    return point, second, after


@part
def _find_words(low: Any, size: int, edges: Any) -> Any:
    """Writes where each word of low[:size] begins and ends to `edges`; returns how many places.

    Eight are written at a time, whether there are so many or not: fewer branches to guess.
    """
    found, inside, at = _0, _0, _0
    while at <= np.uint64(size):
        word = nonzero_block(low, at)
        turns = word ^ ((word << _1) | inside)
        inside = word >> _63
        place, found = found, found + bit_count(turns)
        while place < found:
            for _ in range(8):
                edges[place] = at + first_bit(turns)
                turns &= turns - _1
                place += _1
        at += _LANES
    return np.int64(found)


@part
def _hash_words(
    count: int, size: int, end: int, ngram: int, low: Any, edges: Any, units: Any, cursor: Any
) -> Any:
    """Hashes the words between `count` edges. A word that reaches the end of a chunk which is not the
    text's last is not over: what is left of its last block waits at the front of `low`."""
    open_ = cursor[AT] < end and count > 0 and edges[count - 1] == size
    state, place, at = np.uint64(cursor[CUT]), _0, np.uint64(ngram)
    stop, held = np.uint64(count), _0
    while place < stop:
        first = np.uint64(edges[place])
        length = np.uint64(edges[place + _1]) - first
        while length > _16:
            state = fold_product(eight_bytes(low, first) ^ state, eight_bytes(low, first + _8) ^ STEP)
            first, length = first + _16, length - _16
        place += _2
        if open_ and place == stop:
            held = length
            for k in range(held):
                low[k] = low[first + k]
            break
        head, tail = eight_bytes(low, first) & _FIRST[length], eight_bytes(low, first + _8) & _LAST[length]
        units[at] = fold_product(head ^ state, tail ^ STEP)
        state, at = START, at + _1
    cursor[CUT], cursor[HELD] = np.int64(state), np.int64(held)
    return np.int64(at) - ngram


@part
def _hash_characters(
    data: Any, start: int, end: int, rules: Any, ngram: int, units: Any, cursor: Any, classes: Any, lower: Any
) -> int:
    """Runs of white space count as one space, those at the ends of the text as nothing."""
    _, fold, zero, _ = rules
    i, number_end, gap, at = cursor[AT], cursor[NUMBER_END], cursor[GAP], ngram
    stop = min(i + CHUNK, end)
    while i < stop:
        here = i
        first, second, i = _character(data, start, i, end, fold, classes, lower)
        kind = classes[first]
        if kind & SPACE or first == REPLACEMENT:
            gap = _NOTHING_YET if gap == _NOTHING_YET else _SPACE_DUE
            continue
        if zero and kind & DIGIT:
            follows, number_end, first = number_end == here, i, _DIGIT_0
            if follows:
                continue
        if gap == _SPACE_DUE:
            units[at] = fold_product(_SPACE ^ START, STEP)
            at += 1
        units[at] = fold_product(np.uint64(first) ^ START, STEP)
        at += 1
        if second:
            units[at] = fold_product(np.uint64(second) ^ START, STEP)
            at += 1
        gap = _NO_GAP
    cursor[AT], cursor[NUMBER_END], cursor[GAP] = i, number_end, gap
    return at - ngram


@part
def _hash_tokens(data: Any, end: int, ngram: int, units: Any, cursor: Any) -> int:
    """data holds int64 values, eight bytes each."""
    i, at, stop = cursor[AT], ngram, min(cursor[AT] + CHUNK, end)
    while i < stop:
        units[at] = fold_product(eight_bytes(data, i) ^ START, STEP)
        i, at = i + 8, at + 1
    cursor[AT] = i
    return at - ngram


def reference(unit: bytes) -> int:
    """The hash of a word's bytes in Python integers; a character or token is its eight bytes."""
    state = int(START)
    blocks = [unit[i : i + _BLOCK].ljust(_BLOCK, b"\0") for i in range(0, max(len(unit), 1), _BLOCK)]
    for block in blocks:
        low, high = int.from_bytes(block[:8], "little"), int.from_bytes(block[8:], "little")
        state = fold_product_reference(low ^ state, high ^ int(STEP))
    return state


def fold_product_reference(x: int, y: int) -> int:
    """What `simd.fold_product` does."""
    product = x * y
    return (product ^ product >> 64) % 2**64
