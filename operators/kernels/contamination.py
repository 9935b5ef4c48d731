"""n-grams of evaluation texts: hashed, put into a table, and found again in documents, with their places.

The hash of units u_1 .. u_k (`units`) is that of the polynomial sum u_i B^(k-i) mod 2^64, so that from the
prefix sums of a text an n-gram of any length costs one multiplication. A document is asked for one length
only, the least: a filter of bits knows the last `suffix` units of every n-gram in the table, and only
where it says yes the lengths that there are (n, and those of short texts) are looked up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels import units
from operators.kernels.jit import kernel, part
from operators.kernels.lower import REPLACEMENT, SPACE, WORD, case_tables, lower_at
from operators.kernels.simd import fold_product

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Buffers = tuple[npt.NDArray[np.uint8], Int64s, Int64s]

MOST_UNITS = 64  # of an n-gram
_BASE = np.uint64(0xD6E8FEB86659FD93)
_0, _1, _6, _63, _64 = (np.uint64(n) for n in (0, 1, 6, 63, 64))
_LEAST_BITS, _BITS_A_GRAM = 16, 32  # of the filter: 1 of 32 places that no n-gram ends at is looked up


class Grams(NamedTuple):
    """Which n-grams are looked for: of `length` words or characters; a text of fewer, but at least
    `least`, is one n-gram."""

    characters: bool
    length: int
    least: int

    @property
    def rules(self) -> tuple[int, int, int, int]:
        """As `units` takes them: lower-cased, numbers and the rest as they are."""
        return (units.CHARACTERS if self.characters else units.WORDS, 255, 0, 0)


@part
def _hash(gram: Any) -> Any:
    """A gram's hash, never 0: that is an empty place in the table."""
    x = fold_product(gram ^ units.START, units.STEP)
    return x if x != _0 else _1


def powers(length: int) -> UInt64s:
    """(length + 1,) the powers of the base, mod 2^64."""
    return np.cumprod(np.concatenate([[_1], np.full(length, _BASE)]), dtype=np.uint64)


@part
def _next_sums(data: Any, start: int, end: int, rules: Any, scratch: Any, before: int, sums: Any) -> int:
    """Prefix sums of the next chunk's units to sums[before + 1:], behind the `before` + 1 of earlier ones;
    the number of units."""
    count = units.next_units(data, start, end, rules, 0, scratch)
    total = sums[before]
    for k in range(count):
        total = total * _BASE + scratch[2][k]
        sums[before + 1 + k] = total
    return count


@part
def _carry(sums: Any, before: int, count: int) -> None:
    """The last sums to the front, for the next chunk."""
    for k in range(before + 1):
        sums[k] = sums[count + k]


@kernel
def _list_grams(
    data: Any, starts: Any, ends: Any, rules: Any, length: int, least: int, power: Any, scratch: Any,
    sums: Any, out: Any,
) -> int:  # fmt: skip
    """Writes (row, hash, hash of the last `least` units, length) of every n-gram; how many there are,
    of which those that fit are written."""
    rows, hashes, suffixes, lengths = out
    n = 0
    for row in range(len(starts)):
        units.rewind(starts[row], 0, scratch)
        sums[: length + 1] = _0
        total, more = 0, starts[row] < ends[row]
        while more:
            count = _next_sums(data, starts[row], ends[row], rules, scratch, length, sums)
            more = scratch[4][units.AT] < ends[row]
            for k in range(count):
                total += 1
                last = not more and k + 1 == count and least <= total < length
                if total >= length or last:
                    size = min(total, length)
                    at = length + 1 + k
                    if n < len(rows):
                        rows[n], lengths[n] = row, size
                        hashes[n] = _hash(sums[at] - sums[at - size] * power[size])
                        suffixes[n] = _hash(sums[at] - sums[at - least] * power[least])
                    n += 1
            _carry(sums, length, count)
    return n


def list_grams(buffers: Buffers, grams: Grams) -> tuple[Int64s, UInt64s, UInt64s, Int64s]:
    """(row, hash, hash of the last `least` units, units), (n,) each, of the n-grams of texts, in order."""
    scratch, sums = _scratch(grams)
    room = 4096
    while True:
        out = (np.empty(room, np.int64), np.empty(room, np.uint64), np.empty(room, np.uint64),
               np.empty(room, np.int64))  # fmt: skip
        n = _list_grams(
            *buffers, grams.rules, grams.length, grams.least, powers(grams.length), scratch, sums, out
        )
        if n <= room:
            return tuple(column[:n] for column in out)  # type: ignore[return-value]
        room = n


def _scratch(grams: Grams) -> Any:
    scratch = units.scratch(0)
    return scratch, np.empty(grams.length + 1 + len(scratch[2]), np.uint64)


class Table(NamedTuple):
    """What documents are looked up in. cells: open addressing, 0 is free; slots: the place of a cell's
    n-gram in the ascending hashes; filter: a bit for each hash of last units; lengths: that there are."""

    cells: UInt64s
    slots: npt.NDArray[np.int32]
    filter: UInt64s
    lengths: Int64s


@kernel
def _fill(hashes: Any, suffixes: Any, cells: Any, slots: Any, filter: Any, shift: Any) -> None:
    mask = np.uint64(len(cells) - 1)
    for i in range(len(hashes)):
        at = hashes[i] & mask
        while cells[at] != _0:
            at = (at + _1) & mask
        cells[at], slots[at] = hashes[i], i
        bit = suffixes[i] >> shift
        filter[bit >> _6] |= _1 << (bit & _63)


def make_table(hashes: UInt64s, suffixes: UInt64s, lengths: Int64s) -> Table:
    """The table of n distinct n-grams, ascending by hash."""
    size = 1 << max(4, int(2 * len(hashes)).bit_length())
    bits = max(_LEAST_BITS, (_BITS_A_GRAM * len(hashes)).bit_length())
    table = Table(
        np.zeros(size, np.uint64),
        np.zeros(size, np.int32),
        np.zeros(1 << (bits - 6), np.uint64),
        np.unique(lengths),
    )
    _fill(hashes, suffixes, table.cells, table.slots, table.filter, np.uint64(64 - bits))
    return table


@kernel
def _find_grams(
    data: Any, starts: Any, ends: Any, rules: Any, length: int, least: int, power: Any, scratch: Any,
    sums: Any, table: Any, out: Any,
) -> int:  # fmt: skip
    """Writes (row, last unit, units, slot) of every n-gram of the table; how many there are."""
    cells, slots, filter, lengths, shift = table
    rows, lasts, sizes, found = out
    n, mask = 0, np.uint64(len(cells) - 1)
    for row in range(len(starts)):
        units.rewind(starts[row], 0, scratch)
        sums[: length + 1] = _0
        total, more = 0, starts[row] < ends[row]
        while more:
            count = _next_sums(data, starts[row], ends[row], rules, scratch, length, sums)
            more = scratch[4][units.AT] < ends[row]
            for k in range(max(0, least - 1 - total), count):
                at = length + 1 + k
                bit = _hash(sums[at] - sums[at - least] * power[least]) >> shift
                if filter[bit >> _6] >> (bit & _63) & _1 == _0:
                    continue
                for size in lengths:
                    if total + k + 1 < size:
                        break
                    x = _hash(sums[at] - sums[at - size] * power[size])
                    cell = x & mask
                    while cells[cell] != _0 and cells[cell] != x:
                        cell = (cell + _1) & mask
                    if cells[cell] == x:
                        if n < len(rows):
                            rows[n], lasts[n], sizes[n], found[n] = row, total + k, size, slots[cell]
                        n += 1
            total += count
            _carry(sums, length, count)
    return n


def find_grams(buffers: Buffers, grams: Grams, table: Table) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """(row, last unit, units, slot), (n,) each, of the table's n-grams in texts, by the last unit."""
    scratch, sums = _scratch(grams)
    cells = (*table, np.uint64(64 - (len(table.filter).bit_length() + 5)))
    room = 4096
    while True:
        out = tuple(np.empty(room, np.int64) for _ in range(4))
        args = grams.rules, grams.length, grams.least, powers(grams.length)
        n = _find_grams(*buffers, *args, scratch, sums, cells, out)
        if n <= room:
            return tuple(column[:n] for column in out)  # type: ignore[return-value]
        room = n


@kernel
def _unit_bounds(
    data: Any, start: int, end: int, characters: bool, classes: Any, lower: Any, out: Any
) -> int:
    begins, stops = out
    i, n, gap, inside = start, 0, -1, False
    while i < end:
        here = i
        first, second, i = lower_at(data, start, i, end, classes, lower)
        kind = classes[first]
        if not characters:
            word = kind & WORD != 0
            if word and not inside:
                begins[n] = here
            if word:
                stops[n] = i
            n += (inside or word) and (not word or second != 0)
            inside = word and second == 0
            continue
        if kind & SPACE or first == REPLACEMENT:
            gap = here if n and gap < 0 else gap
            continue
        if gap >= 0:
            begins[n], stops[n] = gap, here
            n, gap = n + 1, -1
        for _ in range(1 + (second != 0)):
            begins[n], stops[n] = here, i
            n += 1
    return n + inside


def unit_bounds(data: Any, start: int, end: int, characters: bool) -> tuple[Int64s, Int64s]:
    """(begin, end) in data of every unit of the text data[start:end], in order."""
    room = (end - start) // (1 if characters else 2) + 1
    out = np.empty(room, np.int64), np.empty(room, np.int64)
    n = _unit_bounds(data, start, end, characters, *case_tables(), out)
    return out[0][:n], out[1][:n]
