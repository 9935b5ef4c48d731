"""What texts of many tokens send out to find their repeats: chosen grams, segments, cores, windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import inlined, kernel, part
from operators.kernels.tokens import token_tables, tokenise
from operators.kernels.winnow import accumulate, powers, run_hash, winnow

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Texts = tuple[npt.NDArray[np.uint8], Int64s, Int64s]  # as `text_buffers` gives them

_CHUNK_BYTES = 4 << 20  # of text for which scratch memory is taken at once


@dataclass(frozen=True)
class Winnowing:
    """How texts are cut into windows of `length` tokens and these into segments.

    A *gram* is a run of `gram` tokens. Every window chooses the leftmost least of its grams; the windows
    in a row that choose the same one make a *segment*. Windows are sorted by how far before the gram
    they begin into `classes` classes of about equal width, and the tokens that all windows of a class
    have in common, seen from the gram, are the class's *core*. All of these depend on nothing but the
    tokens inside, so texts that share a window share its gram and its core.
    """

    length: int
    fold: bool = False

    @property
    def gram(self) -> int:
        return max(1, self.length // 3)

    @property
    def classes(self) -> int:
        return min(3, self.length - self.gram + 1)

    @cached_property
    def rules(self) -> Any:
        """What the kernels take; with scratch memory of its own."""
        return token_tables(self.fold), self.length, self.gram, self.classes, powers(2 * self.length)


@inlined
def class_of(before: Any, length: Any, gram: Any, classes: Any) -> Any:
    """The class of a window that begins `before` tokens before its gram."""
    return before * classes // (length - gram + 1)


@inlined
def class_start(number: Any, length: Any, gram: Any, classes: Any) -> Any:
    """The least `before` in that class."""
    return -(-number * (length - gram + 1) // classes)


@part
def _read(data: Any, start: int, end: int, rules: Any, scratch: Any) -> int:
    """Tokenises a text; the hashes of its prefixes are then in scratch[0] and [1]."""
    low, high, first, last = scratch[0], scratch[1], scratch[2], scratch[3]
    count = tokenise(data, start, end, rules[0], (low[1:], high[1:], first, last))
    accumulate(count, low, high)
    return count


@kernel
def _grams(data: Any, starts: Any, ends: Any, rules: Any, scratch: Any, lists: Any, out: Any) -> Any:
    _, length, gram, _, power = rules
    at = np.int64(0)
    grams, place, first = scratch[4], scratch[5], scratch[6]
    for row in range(len(starts)):
        if ends[row] - starts[row] < length:
            continue
        count = _read(data, starts[row], ends[row], rules, scratch)
        chosen = winnow(scratch[0], count, gram, length, power[0, gram], (grams, place, first))
        for j in range(np.int64(chosen)):
            if j > 0 and grams[place[j]] == grams[place[j - 1]]:
                out[2][at - 1] = 2
                continue
            out[0][at], out[1][at], out[2][at] = row, grams[place[j]], 1
            at += 1
    return at, at


@part
def _cores(prefix: Any, place: int, start: int, many: int, rules: Any, out: Any, at: int) -> int:
    """Writes the hashes of the cores of `many` windows from `start` on that chose the gram at `place` to
    out[at:], in the order of the windows, and returns where the next ones go."""
    _, length, gram, classes, power = rules
    top = class_of(place - start, length, gram, classes)
    for k in range(top, class_of(place - (start + many - 1), length, gram, classes) - 1, -1):
        least, most = class_start(k, length, gram, classes), class_start(k + 1, length, gram, classes) - 1
        size = np.uint64(length - (most - least))
        out[at] = run_hash(prefix, np.uint64(place - least), size, power[0, size]) + np.uint64(k)
        at += 1
    return at


@kernel
def _segments(data: Any, starts: Any, ends: Any, rules: Any, scratch: Any, lists: Any, out: Any) -> Any:
    _, length, gram, _, power = rules
    offsets, wanted = lists
    grams, place, first = scratch[4], scratch[5], scratch[6]
    rows, low, high, starting, windows, copies, places, core_rows, cores = out
    at, core_at = np.int64(0), np.int64(0)
    for row in range(len(starts)):
        want, stop = offsets[row], offsets[row + 1]
        if want == stop or ends[row] - starts[row] < length:
            continue
        count = _read(data, starts[row], ends[row], rules, scratch)
        chosen = np.int64(winnow(scratch[0], count, gram, length, power[0, gram], (grams, place, first)))
        number, next_start = -1, np.int64(-1)
        for j in range(chosen):
            number += j == 0 or grams[place[j]] != grams[place[j - 1]]
            while want < stop and wanted[want] < number:
                want += 1
            if want == stop:
                break
            if wanted[want] != number:
                continue
            start = np.int64(first[j])
            many = (np.int64(first[j + 1]) if j + 1 < chosen else count - length + 1) - start
            size = np.uint64(many + length - 1)
            a = run_hash(scratch[0], np.uint64(start), size, power[0, size])
            b = run_hash(scratch[1], np.uint64(start), size, power[1, size])
            if start == next_start and a == low[at - 1] and b == high[at - 1]:
                copies[at - 1] += 1
                next_start += many
                continue
            next_start = start + many
            rows[at], low[at], high[at], starting[at] = row, a, b, start
            windows[at], copies[at], places[at] = many, 1, place[j]
            at += 1
            before, core_at = (
                core_at,
                _cores(scratch[0], np.int64(place[j]), start, many, rules, cores, core_at),
            )
            core_rows[before:core_at] = row
    return at, core_at


@kernel
def _windows(data: Any, starts: Any, ends: Any, rules: Any, scratch: Any, lists: Any, out: Any) -> Any:
    _, length, _, _, power = rules
    offsets, begins, ends_of = lists
    size, at = np.uint64(length), np.int64(0)
    for row in range(len(starts)):
        if offsets[row] == offsets[row + 1]:
            continue
        count = _read(data, starts[row], ends[row], rules, scratch)
        for i in range(offsets[row], offsets[row + 1]):
            for window in range(begins[i], min(ends_of[i], count - length + 1)):
                out[0][at], out[3][at] = row, window
                out[1][at] = run_hash(scratch[0], np.uint64(window), size, power[0, size])
                out[2][at] = run_hash(scratch[1], np.uint64(window), size, power[1, size])
                at += 1
    return at, at


def chosen_grams(texts: Texts, winnowing: Winnowing) -> tuple[Int64s, UInt64s, npt.NDArray[np.uint8]]:
    """(row, gram, 1 or 2) of the chosen grams of n texts, one for every stretch of equal ones that
    follow each other in a text: 2 if there are several."""
    nothing = (np.zeros(0, np.int64),)
    row, gram, many = _run(_grams, texts, winnowing, nothing, (np.int64, np.uint64, np.uint8), 3)
    return row, gram, many


@dataclass(frozen=True)
class Segments:
    """Segments of n texts, ascending, with a list of them for every text.

    lengths (n,): segments of each text. low, high: hash of a segment's tokens. start, windows: its
    first window and how many it has; copies: how often it follows itself, the next one starting
    `windows` later. place: its gram's first token. core_lengths (n,), cores: its cores (`core_windows`).
    """

    lengths: Int64s
    low: UInt64s
    high: UInt64s
    start: Int32s
    windows: Int32s
    copies: Int32s
    place: Int32s
    core_lengths: Int64s
    cores: UInt64s


def segments(texts: Texts, winnowing: Winnowing, lengths: Int64s, numbers: Int32s) -> Segments:
    """The segments of the chosen grams with these numbers in each of n texts (lengths (n,), numbers
    ascending within a text), as `chosen_grams` counts them."""
    wanted = (offsets_of(lengths), numbers)
    kinds = (np.int64, np.uint64, np.uint64, np.int32, np.int32, np.int32, np.int32, np.int64, np.uint64)
    row, low, high, start, windows, copies, place, core_row, cores = _run(
        _segments, texts, winnowing, wanted, kinds, 7
    )
    n = len(lengths)
    counts, core_counts = np.bincount(row, minlength=n), np.bincount(core_row, minlength=n)
    return Segments(counts, low, high, start, windows, copies, place, core_counts, cores)


def core_windows(
    start: Int32s, windows: Int32s, place: Int32s, winnowing: Winnowing
) -> tuple[Int64s, Int64s, Int64s]:
    """For m segments: (m,) how many cores each has; for each core, in the order of `Segments.cores`, the
    first of the segment's windows that contain it and the one behind the last."""
    shape = (winnowing.length, winnowing.gram, winnowing.classes)
    before = place.astype(np.int64) - start
    top = class_of.py_func(before, *shape)
    counts = top - class_of.py_func(before - windows + 1, *shape) + 1
    one = np.repeat(np.arange(len(start)), counts)
    number = top[one] - (np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts))
    begin = np.maximum(start[one], place[one] - class_start.py_func(number + 1, *shape) + 1)
    end = np.minimum(
        start[one].astype(np.int64) + windows[one], place[one] - class_start.py_func(number, *shape) + 1
    )
    return counts, begin.astype(np.int64), end


def window_hashes(
    texts: Texts, winnowing: Winnowing, lengths: Int64s, begin: Int64s, end: Int64s
) -> tuple[Int64s, UInt64s, UInt64s, Int32s]:
    """(row, low, high, window) of the windows begin[i]..end[i] - 1 of n texts; lengths (n,): ranges of
    each text, which ascend and do not overlap. Windows that a text does not have are left out."""
    kinds = (np.int64, np.uint64, np.uint64, np.int32)
    row, low, high, window = _run(_windows, texts, winnowing, (offsets_of(lengths), begin, end), kinds, 4)
    return row, low, high, window


def _run(
    kernel: Callable[..., Any], texts: Texts, winnowing: Winnowing, lists: Any, kinds: Any, first: int
) -> list[Any]:
    """The kernel's outputs over all texts, some at a time, so that its scratch memory stays bounded by
    the longest text. The first output is the row, and so is output `first`, where a second kind of
    outputs begins."""
    data, starts, ends = texts
    parts = [[np.empty(0, kind) for kind in kinds]]
    rules = winnowing.rules
    for a, b in text_chunks(starts, ends):
        chunk = starts[a:b], ends[a:b]
        cells = int((chunk[1] - chunk[0]).sum())
        mine = tuple(array[a : b + 1] if i == 0 else array for i, array in enumerate(lists))
        out = tuple(np.empty(cells, kind) for kind in kinds)
        scratch = token_scratch(int((chunk[1] - chunk[0]).max(initial=0)))
        counts = kernel(data, *chunk, rules, scratch, mine, out)
        out[0][: counts[0]] += a
        if first < len(kinds):
            out[first][: counts[1]] += a
        parts.append([array[: counts[i >= first]].copy() for i, array in enumerate(out)])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def text_chunks(starts: Int64s, ends: Int64s) -> list[tuple[int, int]]:
    """Ranges of texts of about 4 MB, or of one that is longer."""
    bounds = np.flatnonzero(np.diff(np.cumsum(ends - starts) // _CHUNK_BYTES)) + 1
    edges = [0, *bounds.tolist(), len(starts)] if len(starts) else []
    return list(pairwise(edges))


def token_scratch(longest: int) -> Any:
    """Scratch memory for texts of up to `longest` bytes: prefixes in two halves, each token's first byte
    and the one behind its last, grams, places and first windows. Pages that are not needed stay untouched.

    Raises ValueError where places do not fit 31 bits."""
    if longest >= 2**31:
        raise ValueError(f"a text has {longest} bytes, more than 2^31 - 1: cut it into several documents")
    wide = [np.empty(longest + 1, np.uint64) for _ in range(3)]
    narrow = [np.empty(longest + 1, np.int32) for _ in range(4)]
    return wide[0], wide[1], narrow[0], narrow[1], wide[2], narrow[2], narrow[3]


def offsets_of(lengths: Int64s) -> Int64s:
    """(n + 1,) where each of n lists begins, and the end."""
    return np.concatenate(([0], np.cumsum(lengths)))
