"""What the quality rules count in a text, in one walk over its bytes: words, lines, repeats, C4's lines."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels import grams
from operators.kernels.c4_lines import CUTS, FROM, c4_end, c4_line
from operators.kernels.grams import clear, gram_characters, hash_bytes, place
from operators.kernels.jit import inlined, kernel, part
from operators.kernels.lower import DIGIT, SPACE, case_tables, decode
from operators.kernels.marks import TERMINALS
from operators.kernels.segments import text_chunks
from operators.kernels.simd import bit_count

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

# Bits of a code point's class, beside lower's SPACE and DIGIT.
ALNUM, ALPHA, TERMINAL = 1, 32, 64

# What is counted, a column each. A run is what white space surrounds; a word is a run without whatever
# is no letter or number at its ends, and runs of which nothing is left are none.
NAMES = (
    "characters", "runs", "words", "word_characters", "hashes", "ellipses", "alpha_runs", "stop_words",
    "line_feeds", "lines", "bullet_lines", "ellipsis_lines", "full_lines", "terminal_lines", "short_lines",
    "repeated_lines", "repeated_line_characters", "paragraphs", "repeated_paragraphs",
    "repeated_paragraph_characters", *(f"grams_{n}" for n in range(grams.TOP, grams.LAST + 1)),
    "lorem_ipsum", "curly_brackets", "sentences", "kept_lines",
)  # fmt: skip
_AT = {name: number for number, name in enumerate(NAMES)}
(
    _CHARACTERS, _RUNS, _WORDS, _WORD_CHARACTERS, _HASHES, _ELLIPSES, _ALPHA_RUNS, _STOP_WORDS,
    _LINE_FEEDS, _LINES, _BULLETS, _ELLIPSIS_LINES, _FULL_LINES, _TERMINAL_LINES, _SHORT_LINES,
    _REPEATED_LINES, _LINE_CHARACTERS, _PARAGRAPHS, _REPEATED_PARAGRAPHS, _PARAGRAPH_CHARACTERS, _GRAMS,
) = range(21)  # fmt: skip
_C4 = _AT["lorem_ipsum"]

_LINE_FEED, _RETURN, _HASH, _DASH, _STOP, _BRACKET, _ELLIPSIS = 10, 13, 35, 45, 46, 91, 0x2026
_MOST_STOP_WORDS = 64


class Counting(NamedTuple):
    """What is asked of a text beside plain counts.

    c4: whether its lines are judged, the fewest words of one that stays, the most characters of a word,
    whether it must end with an end mark, whether 'lorem ipsum' and curly brackets condemn the text.
    """

    stop_words: tuple[str, ...]
    short_line: int
    repeats: bool
    c4: tuple[bool, int, int, bool, bool, bool]


@lru_cache(maxsize=1)
def classes() -> Bytes:
    """(0x110000,) uint8 by code point: SPACE, DIGIT, ALNUM, ALPHA, TERMINAL."""
    table = case_tables()[0] & np.uint8(SPACE | DIGIT)
    points = np.arange(0x40000, dtype=np.uint32)
    points[0xD800:0xE000] = 0xFFFD
    chars = points.view("<U1")
    table[: len(points)] |= np.where(np.strings.isalnum(chars), np.uint8(ALNUM), np.uint8(0))
    table[: len(points)] |= np.where(np.strings.isalpha(chars), np.uint8(ALPHA), np.uint8(0))
    table[[ord(char) for char in TERMINALS]] |= TERMINAL
    return table


def count(texts: tuple[Bytes, Int64s, Int64s], counting: Counting) -> tuple[Int64s, Int64s]:
    """(counts (n, len(NAMES)), cuts (m, 3)) int64 of n texts; cuts are (row, first byte, the one behind the
    last) of what C4 takes away, as places in the text's buffer.

    Ratios are left to the caller: a kernel that divides may raise, and such code cannot be kept. Needs up to
    80 bytes of scratch memory for each byte of the longest text, most of which stays untouched.
    """
    data, starts, ends = texts
    counts = np.zeros((len(starts), len(NAMES)), np.int64)
    if len(starts) == 0:
        return counts, np.zeros((0, 3), np.int64)
    scratch = _scratch(int((ends - starts).max()))
    rules = (
        _stop_hashes(counting.stop_words), counting.short_line, counting.repeats,
        tuple(int(value) for value in counting.c4),
        max([len(word.encode()) for word in counting.stop_words], default=0),
    )  # fmt: skip
    found = []
    for a, b in text_chunks(starts, ends):
        cuts = _room_for_cuts(data, starts[a:b], ends[a:b], counting.c4[0])
        many = _count(data, starts[a:b], ends[a:b], classes(), rules, scratch, counts[a:b], cuts)
        cuts[:many, 0] += a
        found.append(cuts[:many].copy())
    return counts, np.concatenate(found)


def _room_for_cuts(data: Bytes, starts: Int64s, ends: Int64s, wanted: bool) -> Int64s:
    """A line has a cut on either side of its line feed, a citation one: it begins with a bracket."""
    if not wanted:
        return np.zeros((0, 3), np.int64)
    inside = data[starts.min() : ends.max()]
    most = 2 * np.count_nonzero(inside == _LINE_FEED) + np.count_nonzero(inside == _BRACKET)
    return np.empty((int(most) + 3 * len(starts), 3), np.int64)


def _stop_hashes(words: tuple[str, ...]) -> npt.NDArray[np.uint64]:
    if len(words) > _MOST_STOP_WORDS:
        raise ValueError(f"{len(words)} stop words: at most {_MOST_STOP_WORDS} can be told apart")
    data, ends = "".join(words).encode() + bytes(8), np.cumsum([len(word.encode()) for word in words])
    out = np.empty(len(words), np.uint64)
    _hash_each(np.frombuffer(data, np.uint8), np.append(0, ends).astype(np.int64), out)
    return out


@kernel
def _hash_each(data: Any, bounds: Any, out: Any) -> None:
    for i in range(len(out)):
        out[i] = hash_bytes(data, bounds[i], bounds[i + 1])


def _scratch(longest: int) -> Any:
    """(for every word its hash, the characters before it, and room for n-grams; tables of lines, paragraphs
    and n-grams; citations and a line without them; state of the cuts) for texts of up to `longest` bytes."""
    most = longest // 2 + 2
    words = (
        np.empty(most, np.uint64), np.empty(most + 1, np.int64), np.empty(most, np.uint64),
        np.empty(most, np.int32), np.empty(most, np.int32),
    )  # fmt: skip
    tables = tuple(grams.table(most) for _ in range(3))
    return words, tables, (np.empty((most, 2), np.int64), np.empty(longest, np.uint8)), np.zeros(2, np.int64)


@part
def _read_run(data: Any, i: int, end: int, classes: Any, counts: Any) -> Any:
    """Of the run that begins at byte i: where it ends, its characters, first and last byte of the word in it
    and its characters (none: 0), the bits of all its letters, those of its last character, brackets."""
    characters, dots, brackets = np.int64(0), 0, 0
    first, last, before, behind = i, i, np.int64(0), np.int64(0)
    bits, kind = np.uint8(0), np.uint8(0)
    while i < end:
        byte = data[i]
        point, after = np.int64(byte), i + 1
        if byte >= 0x80:
            point, after = decode(data, i, end)
        now = classes[point]
        if now & SPACE:
            break
        kind = now
        if kind & ALNUM:
            if bits == 0:
                first, before = i, characters
            last, behind = after, characters + 1
            bits |= kind
            dots = 0
        elif point == _STOP:
            dots += 1
            if dots == 3:
                counts[_ELLIPSES] += 1
                dots = 0
        else:
            dots = 0
            counts[_HASHES] += point == _HASH
            counts[_ELLIPSES] += point == _ELLIPSIS
            brackets += point == _BRACKET
        characters += 1
        i = after
    return i, characters, first, last, behind - before, bits, kind, brackets


@part
def _read_line(data: Any, start: int, end: int, classes: Any, rules: Any, words: Any, counts: Any) -> Any:
    """Counts the runs of data[start:end] and keeps their hashes; its characters, first byte that is no white
    space and the one behind the last, with the characters before both, the longest run, the bits of the last
    character that is no white space, brackets."""
    stops, hashes, sizes = rules[0], words[0], words[1]
    i, characters, longest, brackets, kind = start, np.int64(0), np.int64(0), 0, np.uint8(0)
    first, last, lead, ink = end, start, np.int64(0), np.int64(0)
    while i < end:
        point, after = np.int64(data[i]), i + 1
        if point >= 0x80:
            point, after = decode(data, i, end)
        if classes[point] & SPACE:
            characters += 1
            i = after
            continue
        if last == start:
            first, lead = i, characters
        begin = i
        i, size, a, b, letters, bits, kind, more = _read_run(data, i, end, classes, counts)
        characters += size
        last, ink, longest, brackets = i, characters, max(longest, size), brackets + more
        at = counts[_RUNS]
        hashes[at], sizes[at + 1] = hash_bytes(data, begin, i), sizes[at] + size
        counts[_RUNS] = at + 1
        counts[_WORDS] += letters > 0
        counts[_WORD_CHARACTERS] += letters
        counts[_ALPHA_RUNS] += bits & ALPHA > 0
        if letters > 0 and b - a <= rules[4]:
            mine = hashes[at] if a == begin and b == i else hash_bytes(data, a, b)
            for k in range(len(stops)):
                if stops[k] == mine:
                    counts[_STOP_WORDS] |= np.int64(1) << k
    return characters, first, last, lead, ink, longest, kind, brackets


@inlined
def _repeat(table: Any, mask: Any, value: Any) -> bool:
    """Whether the table has this hash; it has it now."""
    at = place(table, mask, value)
    table[1][at] += 1
    return table[1][at] > 1


@part
def _ends_with_ellipsis(data: Any, start: int, end: int) -> bool:
    if end - start < 3:
        return False
    a, b, c = data[end - 3], data[end - 2], data[end - 1]
    return (a == _STOP and b == _STOP and c == _STOP) or (a == 0xE2 and b == 0x80 and c == 0xA6)


@part
def _close_paragraph(
    data: Any, first: int, last: int, characters: int, table: Any, mask: Any, counts: Any
) -> None:
    counts[_PARAGRAPHS] += 1
    if _repeat(table, mask, hash_bytes(data, first, last)):
        counts[_REPEATED_PARAGRAPHS] += 1
        counts[_PARAGRAPH_CHARACTERS] += characters


@part
def _read_text(
    data: Any, row: int, start: int, end: int, classes: Any, rules: Any, scratch: Any, counts: Any, cuts: Any
) -> None:
    _, short, repeats, c4, _ = rules
    words, tables, more, state = scratch
    feeds = 0
    for i in range(start, end):
        feeds += data[i] == _LINE_FEED
    line_mask, paragraph_mask = clear(tables[0], feeds + 1), clear(tables[1], feeds + 1)
    words[1][0], state[FROM] = 0, start
    opened, head, tail, low, high = False, start, start, np.int64(0), np.int64(0)
    i = start
    while i < end:
        stop = i
        while stop < end and data[stop] != _LINE_FEED:
            stop += 1
        close = stop - 1 if stop > i and data[stop - 1] == _RETURN else stop
        runs = counts[_RUNS]
        characters, first, last, lead, ink, longest, kind, brackets = _read_line(
            data, i, close, classes, rules, words, counts
        )
        counts[_LINES] += 1
        if last > i:  # not only white space
            counts[_FULL_LINES] += 1
            counts[_BULLETS] += data[first] == _DASH or (
                first + 3 <= close
                and data[first] == 0xE2
                and data[first + 1] == 0x80
                and data[first + 2] == 0xA2
            )
            counts[_ELLIPSIS_LINES] += _ends_with_ellipsis(data, i, last)
            counts[_TERMINAL_LINES] += last == close and kind & TERMINAL > 0
            counts[_SHORT_LINES] += characters <= short
            if _repeat(tables[0], line_mask, hash_bytes(data, i, close)):
                counts[_REPEATED_LINES] += 1
                counts[_LINE_CHARACTERS] += characters
            if not opened:
                opened, head, low = True, first, counts[_CHARACTERS] + lead
            tail, high = last, counts[_CHARACTERS] + ink
            if c4[0] and longest <= c4[2] and counts[_C4] == 0 and counts[_C4 + 1] == 0:
                c4_line(
                    data, first, last, counts[_RUNS] - runs, brackets, row, classes, c4, more, cuts, state,
                    counts[_C4:],
                )  # fmt: skip
        elif close == i and opened:
            _close_paragraph(data, head, tail, high - low, tables[1], paragraph_mask, counts)
            opened = False
        counts[_CHARACTERS] += characters + (stop - close) + (stop < end)
        counts[_LINE_FEEDS] += stop < end
        i = stop + 1
    if opened:
        _close_paragraph(data, head, tail, high - low, tables[1], paragraph_mask, counts)
    if c4[0]:
        c4_end(row, end, cuts, state)
    if repeats:
        gram_characters(counts[_RUNS], words, tables[2], counts[_GRAMS:_C4])


@kernel
def _count(
    data: Any, starts: Any, ends: Any, classes: Any, rules: Any, scratch: Any, counts: Any, cuts: Any
) -> int:
    """Fills counts (n, len(NAMES)) and cuts; returns the number of these."""
    state = scratch[3]
    state[CUTS] = 0
    for row in range(len(starts)):
        _read_text(data, row, starts[row], ends[row], classes, rules, scratch, counts[row], cuts)
        counts[row, _STOP_WORDS] = bit_count(np.uint64(counts[row, _STOP_WORDS]))
    return state[CUTS]


def reference(text: str, counting: Counting) -> dict[str, int]:
    """The counts of one text, but for C4's, by Python's own strings."""
    raw = text.split("\n")[: text.count("\n") + (text[-1:] not in ("", "\n"))]
    lines, runs = [line.removesuffix("\r") for line in raw], text.split()
    full = [line for line in lines if line.strip()]
    words = [word for word in map(_word_reference, runs) if word]
    blocks = itertools.groupby(zip(lines, raw, strict=True), lambda pair: pair[0] == "")
    joined = ["\n".join(line for _, line in block).strip() for empty, block in blocks if not empty]
    paragraphs = [block for block in joined if block]
    repeated = [line for i, line in enumerate(full) if line in full[:i]]
    again = [block for i, block in enumerate(paragraphs) if block in paragraphs[:i]]
    gram = grams.reference(runs) if counting.repeats else [0] * (grams.LAST - grams.TOP + 1)
    plain = [
        len(text), len(runs), len(words), sum(map(len, words)), text.count("#"),
        text.count("...") + text.count("…"), sum(any(map(str.isalpha, run)) for run in runs),
        len(set(counting.stop_words) & set(words)), text.count("\n"), len(lines),
        sum(line.lstrip().startswith(("•", "-")) for line in lines),
        sum(line.rstrip().endswith(("...", "…")) for line in lines), len(full),
        sum(line[-1] in TERMINALS for line in full), sum(len(line) <= counting.short_line for line in full),
        len(repeated), sum(map(len, repeated)), len(paragraphs), len(again), sum(map(len, again)), *gram,
    ]  # fmt: skip
    return dict(zip(NAMES, plain, strict=False))


def _word_reference(run: str) -> str:
    inside = [i for i, char in enumerate(run) if char.isalnum()]
    return run[inside[0] : inside[-1] + 1] if inside else ""
