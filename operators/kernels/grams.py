"""How much of a document is n-grams of words that it has already had: Gopher's repetition statistics."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import inlined, part
from operators.kernels.simd import eight_bytes, fold_product

TOP, LAST_TOP, LAST = 2, 4, 10  # n of the n-grams: the most frequent of 2 to 4, repeats of 5 to 10

_START, _STEP = np.uint64(0x243F6A8885A308D3), np.uint64(0x9FB21C651E98DF25)
_0, _1, _8 = np.uint64(0), np.uint64(1), np.uint64(8)
_EIGHT_BYTES = np.uint64(0xFFFFFFFFFFFFFFFF)

Table = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]


def table(items: int) -> Table:
    """(hashes, counts): room for the hashes of so many things, at most two thirds full; not cleared."""
    cells = 8
    while 2 * cells < 3 * items:
        cells *= 2
    return np.empty(cells, np.uint64), np.empty(cells, np.int32)


@inlined
def clear(table: Any, items: int) -> Any:
    """Empties as many cells as `items` need; returns their number less one."""
    hashes, counts = table
    cells = 8
    while 2 * cells < 3 * items:
        cells *= 2
    for i in range(cells):
        hashes[i] = _0
        counts[i] = 0
    return np.uint64(cells - 1)


@inlined
def place(table: Any, mask: Any, value: Any) -> Any:
    """The cell of a hash, which is now there; its count is left to the caller."""
    hashes = table[0]
    value |= _1  # 0 is an empty cell
    at = (value >> _8) & mask
    while hashes[at] != value and hashes[at] != _0:
        at = (at + _1) & mask
    hashes[at] = value
    return at


@part
def hash_bytes(data: Any, start: int, end: int) -> Any:
    """64 bits of data[start:end]; equal ones of different bytes are as rare as chance makes them."""
    state = _START ^ np.uint64(end - start)
    at, stop = np.uint64(start), np.uint64(end)
    while at + _8 <= stop:
        state = fold_product(eight_bytes(data, at) ^ state, _STEP)
        at += _8
    rest = stop - at
    if rest > _0:
        tail = _0
        if at + _8 <= np.uint64(len(data)):
            tail = eight_bytes(data, at) & (_EIGHT_BYTES >> ((_8 - rest) * _8))
        else:
            for k in range(np.int64(rest)):
                tail |= np.uint64(data[np.int64(at) + k]) << np.uint64(8 * k)
        state = fold_product(tail ^ state, _STEP)
    return fold_product(state ^ _STEP, _START)


@part
def gram_characters(words: int, scratch: Any, table: Any, out: Any) -> None:
    """Writes to out (9,): for n of 2 to 4 the characters of the most frequent n-gram (of several the
    first), one space between its words, times how often it is there; for n of 5 to 10 those of all
    n-grams that came before, read from left to right and never one word twice, without spaces.

    scratch: hashes of the words (uint64), characters before each of them and in all (int64, one more),
    and room for hashes (uint64), places and cells (int32), a cell a word.

    Only what is repeated with n words can be repeated with n + 1, so each n looks at fewer places.
    """
    hashes, before, grams, places, cells = scratch
    counts = table[1]
    for i in range(words):
        grams[i], places[i] = hashes[i], i
    left = words
    for n in range(TOP, LAST + 1):
        while left > 0 and places[left - 1] + n > words:
            left -= 1
        mask = clear(table, left)
        for k in range(left):
            i = places[k]
            grams[i] = fold_product(grams[i] ^ _START, hashes[i + n - 1] ^ _STEP)
            at = place(table, mask, grams[i])
            counts[at] += 1
            cells[k] = at
        if n <= LAST_TOP:
            most, best = 1, 0
            for k in range(left):
                if counts[cells[k]] > most:
                    most, best = counts[cells[k]], places[k]
            size = before[best + n] - before[best] + n - 1 if n <= words else 0
            out[n - TOP] = size * most
        else:
            out[n - TOP] = _repeats(n, left, before, places, cells, counts)
        kept = 0
        for k in range(left):
            if counts[cells[k]] > 1 or counts[cells[k]] < 0:
                places[kept] = places[k]
                kept += 1
        left = kept


@part
def _repeats(n: int, left: int, before: Any, places: Any, cells: Any, counts: Any) -> Any:
    """The characters of repeated n-grams; a count becomes negative when its n-gram has been read."""
    total, free = np.int64(0), 0
    for k in range(left):
        i, at = places[k], cells[k]
        if i < free:
            continue
        if counts[at] < 0:
            total += before[i + n] - before[i]
            free = i + n
        elif counts[at] > 1:
            counts[at] = -counts[at]
    return total


def reference(words: list[str]) -> list[int]:
    """The nine numbers of a list of words, by Python's own sets."""
    out = []
    for n in range(TOP, LAST_TOP + 1):
        grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
        best, most = Counter(grams).most_common(1)[0] if grams else ("", 0)
        out.append(len(best) * most)
    for n in range(LAST_TOP + 1, LAST + 1):
        seen: set[tuple[str, ...]] = set()
        i = total = 0
        while i + n <= len(words):
            gram = tuple(words[i : i + n])
            total += sum(map(len, gram)) if gram in seen else 0
            i += n if gram in seen else 1
            seen.add(gram)
        out.append(total)
    return out
