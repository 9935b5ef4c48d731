"""Lines and paragraphs of texts in Arrow buffers: where they are, and 64-bit hashes of their normal form."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from operators.kernels.hash128 import murmur128
from operators.kernels.jit import inlined, kernel
from operators.kernels.normal_lines import Form, Tables, form_tables, normalise
from operators.kernels.normal_lines import reference as normal_reference
from operators.kernels.words import space_width

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

Unit = Literal["line", "paragraph"]
Ignored = tuple[Literal["case", "numbers", "punctuation", "accents"], ...]
Least = Annotated[int, Field(ge=1)]

_BREAK = 10
MOST_UNITS = 1 << 24  # of one text; more than these are not compared
_MIDDLE, _HEAD = 0xC0, 0x80  # a UTF-8 byte in the middle of a character is 10xxxxxx


class Lines(NamedTuple):
    """What a text is cut into, and which of its units are compared.

    A line ends with its line feed, a paragraph (lines without an empty one between them) with the empty
    lines behind it: the units are the whole text. least: characters of the normal form of a unit that
    is compared, at least 1.
    """

    paragraphs: bool
    least: int
    form: Form

    @classmethod
    def of(cls, unit: Unit, ignore: Ignored, min_line: int) -> Lines:
        """From an operator's fields."""
        return cls(unit == "paragraph", min_line, Form(*(name in ignore for name in Form._fields)))


@kernel
def _line_end(data: Any, i: int, end: int) -> int:
    """The place of the line feed that ends the line at byte i, or `end`."""
    while i < end and data[i] != _BREAK:
        i += 1
    return i


@kernel
def _behind_blank(data: Any, i: int, end: int) -> int:
    """Where the next line begins if the one at byte i < end is empty or all white space, else -1."""
    while i < end:
        byte = data[i]
        if byte == _BREAK:
            return i + 1
        if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31:
            i += 1
            continue
        width = 0
        if byte == 0xC2 or 0xE1 <= byte <= 0xE3:
            width = space_width(data, np.uint64(i), np.uint64(end))
        if width == 0:
            return -1
        i += width
    return end


@kernel
def _paragraph_end(data: Any, i: int, end: int) -> Any:
    """Where the last line of the paragraph at byte i ends, and where the next paragraph begins. Empty
    lines that no paragraph goes before are one of their own."""
    stop = _line_end(data, i, end)
    after = min(stop + 1, end)
    while after < end:
        blank = _behind_blank(data, after, end)
        if blank < 0:
            stop = _line_end(data, after, end)
            after = min(stop + 1, end)
            continue
        while blank >= 0:
            after = blank
            blank = _behind_blank(data, after, end) if after < end else -1
        break
    return stop, after


@inlined
def _compared(form: Any, size: int, least: int) -> bool:
    """Whether a normal form of `size` bytes has at least so many characters."""
    if size < least or least <= 1:
        return size >= least
    count = 0
    for i in range(size):
        count += form[i] & _MIDDLE != _HEAD
    return count >= least


@kernel
def _hash_units(
    data: Any, starts: Any, ends: Any, paragraphs: bool, least: int, tables: Tables, form: Any, out: Any
) -> int:
    """Writes (row, hash) of every compared unit to out and returns their number. form: scratch."""
    rows, hashes = out
    n = 0
    for row in range(len(starts)):
        i, end, last = starts[row], ends[row], n + MOST_UNITS
        while i < end and n < last:
            stop, after = _paragraph_end(data, i, end) if paragraphs else (end, end)
            size, i = normalise(data, i, stop, tables, form)
            if _compared(form, size, least):
                rows[n] = row
                hashes[n], _ = murmur128(form, 0, size, 0)
                n += 1
            i = after if paragraphs else i + 1
    return n


def hash_units(data: Bytes, starts: Int64s, ends: Int64s, lines: Lines) -> tuple[Int64s, UInt64s]:
    """(row of the text (n,), hash of the normal form (n,)) of every compared unit, in order.

    The hash is the low half of MurmurHash3_x64_128. Needs 3 times the longest text as scratch memory.
    """
    inside = data[starts.min(initial=len(data)) : ends.max(initial=0)]
    most = int(np.count_nonzero(inside == _BREAK)) + len(starts)
    out = np.empty(most, np.int64), np.empty(most, np.uint64)
    tables, form = form_tables(lines.form, not lines.paragraphs), _scratch(starts, ends)
    n = _hash_units(data, starts, ends, lines.paragraphs, lines.least, tables, form, out)
    return out[0][:n], out[1][:n]


def _scratch(starts: Int64s, ends: Int64s) -> Bytes:
    return np.empty(3 * int((ends - starts).max(initial=0)) + 1, np.uint8)


@kernel
def _find_units(
    data: Any, starts: Any, ends: Any, paragraphs: bool, least: int, tables: Tables, form: Any,
    counts: Any, wanted: Any, found: Any,
) -> None:  # fmt: skip
    """Writes where the wanted units begin and end to found (n, 2)."""
    at = 0
    for row in range(len(starts)):
        i, end, place, gap = starts[row], ends[row], 0, True
        last = at + counts[row]
        while at < last and i < end:
            begin = i
            stop, after = _paragraph_end(data, i, end) if paragraphs else (end, end)
            size, i = normalise(data, i, stop, tables, form)
            i = after if paragraphs else min(i + 1, end)
            goes = False
            if _compared(form, size, least):
                goes = wanted[at] == place
                place += 1
            if goes:
                while gap and i < end and _behind_blank(data, i, end) >= 0:
                    i = _behind_blank(data, i, end)
                found[at, 0], found[at, 1] = begin, i
                at += 1
            else:
                gap = size == 0 and _behind_blank(data, begin, end) >= 0


def find_units(
    data: Bytes, starts: Int64s, ends: Int64s, lines: Lines, counts: Int64s, wanted: Int64s
) -> tuple[Int64s, Int64s]:
    """(begin, end) (n,) in data of units given by their places among the compared ones of their text, the
    empty lines behind a line too where an empty one, or nothing, is left before it.

    counts: (rows,) wanted units of each text. wanted: (n,) their places, ascending in each text.
    """
    found = np.zeros((len(wanted), 2), np.int64)
    tables, form = form_tables(lines.form, not lines.paragraphs), _scratch(starts, ends)
    _find_units(data, starts, ends, lines.paragraphs, lines.least, tables, form, counts, wanted, found)
    return found[:, 0].copy(), found[:, 1].copy()


@kernel
def count_characters(data: Bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """(n,) code points of each text data[starts[i]:ends[i]]: bytes that continue no sequence."""
    counts = np.zeros(len(starts), np.int64)
    for row in range(len(starts)):
        for i in range(starts[row], ends[row]):
            counts[row] += data[i] & _MIDDLE != _HEAD
    return counts


def reference(text: str, lines: Lines) -> list[tuple[str, str]]:
    """(unit, normal form) of the compared units of a text, by Python's own strings."""
    units: list[list[str]] = []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if not units or not lines.paragraphs or (line.strip() and not units[-1][-1].strip()):
            units.append([])
        units[-1].append(line)
    forms = [("".join(unit), normal_reference("".join(unit), lines.form)) for unit in units]
    return [(unit, form) for unit, form in forms if len(form) >= lines.least]
