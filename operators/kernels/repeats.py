"""From the first occurrences of segments and windows to the bytes that a text loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import Reads
from operators.kernels.jit import kernel, part
from operators.kernels.lists import flat
from operators.kernels.lower import decode
from operators.kernels.segments import Texts, Winnowing, core_windows, offsets_of, text_chunks, token_scratch
from operators.kernels.tokens import WORD, tokenise

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

_NEWLINE = 10

# What is known of a text's segments: where they are and where each occurs first.
FOUND: Reads = {
    "/segments.start": pa.list_(pa.int32()),
    "/segments.windows": pa.list_(pa.int32()),
    "/segments.place": pa.list_(pa.int32()),
    "/first.uids": pa.list_(pa.int64()),
    "/first.starts": pa.list_(pa.int32()),
}


@dataclass(frozen=True)
class Cores:
    """Cores of the segments that are the first of their kind: row in the batch, number among all cores
    of the batch, and the windows begin..end - 1 around it."""

    row: Int64s
    number: Int64s
    begin: Int64s
    end: Int64s


def first_cores(batch: pa.RecordBatch, length: int) -> Cores:
    """The cores of the first segments of a batch with `uid` and the columns of FOUND."""
    lengths, start = flat(batch.column("/segments.start"))
    windows, place, uid, first = (flat(batch.column(name))[1] for name in list(FOUND)[1:])
    row = np.repeat(np.arange(batch.num_rows), lengths)
    own = (uid == np.asarray(batch.column("uid"))[row]) & (first == start)
    counts, begin, end = core_windows(start, windows, place, Winnowing(length))
    number = np.flatnonzero(np.repeat(own, counts))
    return Cores(np.repeat(row, counts)[number], number, begin[number], end[number])


def contested_windows(batch: pa.RecordBatch, length: int) -> tuple[Int64s, Int64s, Int64s]:
    """(lengths (n,), begin, end) of the ranges of windows around each row's contested cores."""
    cores = first_cores(batch, length)
    lengths, number = flat(batch.column("/contested.contested"))
    counts = np.bincount(cores.row, minlength=batch.num_rows)
    at = np.repeat(np.cumsum(counts) - counts, lengths) + number
    return lengths, cores.begin[at], cores.end[at]


@part
def _first_of(window: int, uid: int, low: int, high: int, asked: Any) -> Any:
    """(uid, window) of the first occurrence of a text's window: itself unless an answer says otherwise."""
    begin, end, answer_at, uids, windows = asked
    stop = high
    while low < high:
        middle = (low + high) // 2
        if end[middle] <= window:
            low = middle + 1
        else:
            high = middle
    if low < stop and begin[low] <= window:
        at = answer_at[low] + window - begin[low]
        return np.int64(uids[at]), np.int64(windows[at])
    return uid, window


@kernel
def _repeats(
    uid: Any, offsets: Any, found: Any, asked_offsets: Any, asked: Any, length: int, out: Any
) -> Any:
    start, windows, copies, first_uid, first_start = found
    rows, begins, lasts, kept = out
    at = np.int64(0)
    for row in range(len(uid)):
        own, before = uid[row], at
        low, high = asked_offsets[row], asked_offsets[row + 1]
        for i in range(offsets[row], offsets[row + 1]):
            many = np.int64(windows[i])
            for copy in range(copies[i]):
                base = np.int64(start[i]) + copy * many
                apart = first_uid[i] != own or base - first_start[i] >= length
                step = many if apart else np.int64(1)
                for window in range(base, base + many, step):
                    source, place = first_uid[i], np.int64(0)
                    if not apart:
                        same = np.int64(first_start[i]) + window - base
                        source, place = _first_of(same, own, low, high, asked)
                        if source == own and window - place < length:
                            continue
                    if at > before and kept[at - 1] == source and lasts[at - 1] + 1 == window:
                        lasts[at - 1] = window + step - 1
                        continue
                    rows[at], begins[at], lasts[at], kept[at] = row, window, window + step - 1, source
                    at += 1
    return at


@dataclass(frozen=True)
class Asked:
    """Ranges of windows of n texts whose first occurrences are known: lengths (n,) ranges of a text;
    begin, end of each, ascending; uids, windows: where each window of each range occurs first."""

    lengths: Int64s
    begin: Int64s
    end: Int64s
    uids: Int64s
    windows: Int32s


def repeats(
    uid: Int64s, lengths: Int64s, found: tuple[Any, ...], asked: Asked, length: int
) -> tuple[Int64s, Int32s, Int32s, Int64s]:
    """(row, first window, last window, uid) of the runs of windows of n texts that occur wholly before:
    in the earlier text `uid`, or `length` tokens or more earlier in the same one.

    found: of the segments of all texts (lengths (n,) each) start, windows, copies (int32) and where
    each occurs first: uid (int64), start (int32).
    """
    windows, copies = found[1:3]
    # Copies that do not lie apart from the first are looked at window by window.
    near = np.minimum(copies, length // np.maximum(windows, 1) + 2)
    cells = int((windows.astype(np.int64) * near).sum() + copies.astype(np.int64).sum())
    row, uids = np.empty(cells, np.int64), np.empty(cells, np.int64)
    begin, last = np.empty(cells, np.int32), np.empty(cells, np.int32)
    answer_at = np.cumsum(asked.end - asked.begin) - (asked.end - asked.begin)
    known = (asked.begin, asked.end, answer_at, asked.uids, asked.windows)
    offsets, out, count = offsets_of(lengths), (row, begin, last, uids), 0
    if cells:
        count = _repeats(uid, offsets, found, offsets_of(asked.lengths), known, length, out)
    return row[:count].copy(), begin[:count].copy(), last[:count].copy(), uids[:count].copy()


@part
def _gap(data: Any, begin: int, end: int) -> int:
    """How much the white space data[begin:end] separates: by its line ends, then at all."""
    lines = 0
    for i in range(begin, end):
        lines += data[i] == _NEWLINE
    return 2 * lines + (end > begin)


@part
def _bytes(data: Any, start: int, end: int, a: int, b: int, count: int, first: Any, last: Any) -> Any:
    """The bytes (of the text data[start:end]) that go with the tokens a..b of `count`: of the white space
    before and after them the one that separates less goes too; at an end of the text both its sides meet
    nothing, so the outer one stays behind the last token and goes before the first."""
    if a == 0:
        return np.int64(0), np.int64(first[b + 1]) if b + 1 < count else end - start
    if b + 1 == count:
        return np.int64(last[a - 1]), np.int64(last[b])
    before = _gap(data, start + last[a - 1], start + first[a])
    if before >= _gap(data, start + last[b], start + first[b + 1]):
        return np.int64(first[a]), np.int64(first[b + 1])
    return np.int64(last[a - 1]), np.int64(last[b])


@part
def _is_word(data: Any, i: int, end: int, classes: Any) -> Any:
    return classes[decode(data, i, end)[0]] == WORD


@kernel
def _excise(data: Any, starts: Any, ends: Any, rules: Any, scratch: Any, lists: Any, out: Any) -> Any:
    tables, length = rules[0], rules[1]
    offsets, begins, lasts = lists
    low, high, first, last = scratch[0], scratch[1], scratch[2], scratch[3]
    run_start, run_end, rows, cut_start, cut_end, joined, left = out
    at = np.int64(0)
    for row in range(len(starts)):
        i, stop = offsets[row], offsets[row + 1]
        left[row] = -1
        if i == stop:
            continue
        start, end = starts[row], ends[row]
        count = tokenise(data, start, end, tables, (low, high, first, last))
        left[row] = count
        while i < stop:
            a, b = np.int64(begins[i]), np.int64(-1)
            while i < stop and (b < 0 or begins[i] <= b + 1):
                b = min(np.int64(lasts[i]) + length, count) - 1
                run_start[i], run_end[i] = first[min(np.int64(begins[i]), count - 1)], last[b]
                i += 1
            if a > b:
                continue
            left[row] -= b - a + 1
            rows[at] = row
            cut_start[at], cut_end[at] = _bytes(data, start, end, a, b, count, first, last)
            joined[at] = (
                a > 0
                and b + 1 < count
                and first[b + 1] == last[b]
                and first[a] == last[a - 1]
                and _is_word(data, start + first[a - 1], end, tables[1])
                and _is_word(data, start + first[b + 1], end, tables[1])
            )
            at += 1
    return at


@dataclass(frozen=True)
class Excision:
    """What n texts lose. run_start, run_end: the bytes of each run of windows. lengths (n,): cuts of each
    text; start, end (int64): their bytes; joined: whether two words would meet, so that a space has to
    stand between them. left (n,) int32: tokens that are left, -1 for texts without runs."""

    run_start: Int64s
    run_end: Int64s
    lengths: Int64s
    start: Int64s
    end: Int64s
    joined: npt.NDArray[np.bool_]
    left: Int32s


def excise(texts: Texts, winnowing: Winnowing, lengths: Int64s, begin: Int32s, last: Int32s) -> Excision:
    """The union of the tokens of the runs begin[i]..last[i] of windows of n texts (lengths (n,) runs
    each, ascending), as bytes."""
    data, starts, ends = texts
    offsets, rules, size = offsets_of(lengths), winnowing.rules, len(begin)
    run_start, run_end = np.zeros(size, np.int64), np.zeros(size, np.int64)
    rows, start, end = (np.zeros(size, np.int64) for _ in range(3))
    joined, left, at = np.zeros(size, bool), np.full(len(starts), -1, np.int32), 0
    for a, b in text_chunks(starts, ends):
        scratch = token_scratch(int((ends[a:b] - starts[a:b]).max(initial=0)))
        out = (run_start, run_end, rows[at:], start[at:], end[at:], joined[at:], left[a:b])
        lists = (offsets[a : b + 1], begin, last)
        count = _excise(data, starts[a:b], ends[a:b], rules, scratch, lists, out)
        rows[at : at + count] += a
        at += count
    cuts = np.bincount(rows[:at], minlength=len(starts))
    return Excision(run_start, run_end, cuts, start[:at], end[:at], joined[:at], left)
