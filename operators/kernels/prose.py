"""What readability and linguistic features count in a text, in one walk over its bytes."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels import syllables
from operators.kernels.grams import clear, place, table
from operators.kernels.jit import inlined, kernel, part
from operators.kernels.lower import SPACE as WHITE
from operators.kernels.lower import case_tables, decode
from operators.kernels.marks import TERMINALS
from operators.kernels.simd import fold_product
from operators.kernels.syllables import MOST_LETTERS, count_syllables

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

# What is counted, a column each. A run is what white space surrounds, a word a run without whatever is no
# letter or number at its ends; runs of which nothing is left are none.
NAMES = (
    "ink", "letters", "capitals", "digits", "punctuation", "words", "alphanumeric", "sentences", "syllables",
    "polysyllables", "complex_words", "long_words", "types", "coordinating", "subordinating",
)  # fmt: skip
(
    _INK, _LETTERS, _CAPITALS, _DIGITS, _PUNCTUATION, _WORDS, _ALPHANUMERIC, _SENTENCES, _SYLLABLES,
    _POLYSYLLABLES, _COMPLEX, _LONG, _TYPES, _COORDINATING, _SUBORDINATING,
) = range(15)  # fmt: skip

# English words that join equals, and words that mostly begin a clause within another.
COORDINATING = ("and", "or", "but", "nor", "so", "yet", "for")
SUBORDINATING = (
    "after", "although", "as", "because", "before", "if", "lest", "once", "since", "than", "that", "though",
    "till", "unless", "until", "when", "whenever", "where", "whereas", "wherever", "whether", "while",
)  # fmt: skip
LONG = 7  # letters and numbers from which a word is long (Björnsson 1968)
MANY = 3  # syllables of a polysyllable

# Bits of a code point's class.
_SPACE, _ALNUM, _ALPHA, _UPPER, _DIGIT, _PUNCT, _TERMINAL, _CLOSER = (1 << i for i in range(8))
_LINE_FEED, _STOP, _HYPHENS, _APOSTROPHES = 10, 46, "-\u2010\u2011", "'\u2019"
_CLOSERS = "\"'"  # beside closing brackets and quotation marks
_LATIN = 0x250
_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_STEP = np.uint64(0x9FB21C651E98DF25)

Tables = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], Bytes, npt.NDArray[np.uint64], Int64s]


@lru_cache(maxsize=1)
def tables() -> Tables:
    """(class (0x110000,) and lower case by code point, the a-z that a Latin letter is, hashes of the
    conjunctions, the column in which each counts)."""
    classes = np.zeros(0x110000, np.uint8)
    classes[case_tables()[0] & WHITE > 0] = _SPACE
    points = np.arange(0x40000, dtype=np.uint32)
    points[0xD800:0xE000] = 0xFFFD
    chars = points.view("<U1")
    known = classes[: len(points)]
    known[np.strings.isalnum(chars)] |= _ALNUM
    known[np.strings.isalpha(chars)] |= _ALPHA
    known[np.strings.isdecimal(chars)] |= _DIGIT
    known[np.strings.isupper(chars) | np.strings.istitle(chars)] |= _UPPER
    for point in range(0x20000):
        kind = unicodedata.category(chr(point))
        if kind[0] == "P":
            known[point] |= _PUNCT | (_CLOSER if kind in ("Pe", "Pf") else 0)
    known[[ord(c) for c in _CLOSERS]] |= _CLOSER
    classes[[ord(c) for c in TERMINALS]] |= _TERMINAL
    base = [unicodedata.normalize("NFD", chr(point))[0].lower() for point in range(_LATIN)]
    letters = np.array([ord(c) if "a" <= c <= "z" else 0 for c in base], np.uint8)
    words = {**dict.fromkeys(COORDINATING, _COORDINATING), **dict.fromkeys(SUBORDINATING, _SUBORDINATING)}
    hashes = np.array([_hashed(word) for word in words], np.uint64)
    return classes, case_tables()[1], letters, hashes, np.array(list(words.values()), np.int64)


def _hashed(word: str) -> int:
    h = int(_BASIS)
    for char in word:
        h = ((h ^ ord(char)) * int(_PRIME)) & ((1 << 64) - 1)
    return h


def count(data: Bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """(n, len(NAMES)) int64 counts of n texts; each byte of invalid UTF-8 is a character that is no letter.

    Needs up to 18 bytes of scratch memory for each byte of the longest text. Words are the same where 63 bits
    of their hashes are.
    """
    counts = np.zeros((len(starts), len(NAMES)), np.int64)
    longest = int((ends - starts).max(initial=0))
    scratch = np.zeros(MOST_LETTERS, np.uint8), table(longest // 2 + 2)
    _count(data, starts, ends, tables(), scratch, counts)
    return counts


@inlined
def _is_hyphen(point: Any) -> bool:
    return point == 45 or point == 0x2010 or point == 0x2011


@inlined
def _is_apostrophe(point: Any) -> bool:
    return point == 39 or point == 0x2019


@part
def _is_complex(letters: Any, many: int, heard: int) -> bool:
    """Gunning's rule for a word of `heard` syllables, of which -es, -ed and -ing make none; `letters` are
    those of its last part."""
    if heard < MANY or many < 3:
        return heard >= MANY
    z, y, x = letters[many - 1], letters[many - 2], letters[many - 3]
    rest = many
    if y == 101 and (z == 115 or z == 100):
        rest = many - 2
    elif x == 105 and y == 110 and z == 103:
        rest = many - 3
    return heard - count_syllables(letters, many) + count_syllables(letters, rest) >= MANY


@part
def _read_run(data: Any, i: int, end: int, first: bool, tables: Any, letters: Any, counts: Any) -> Any:
    """Counts the run that begins at byte i; where it ends, the hash of its word (0: none), whether it ends a
    sentence. first: nothing of the sentence was before it."""
    classes, lower, bases, _, _ = tables
    h, word, many, heard = _BASIS, np.uint64(0), 0, 0
    alphanumeric: Any = np.int64(0)
    last: Any = np.int64(0)
    capital, compound, inner_stop, terminal = False, False, False, False
    hyphen, stop, gap = False, False, False  # of what is neither letter nor number behind some
    while i < end:
        point, after = np.int64(data[i]), i + 1
        if point >= 0x80:
            point, after = decode(data, i, end)
        kind = classes[point]
        if kind & _SPACE:
            break
        counts[_INK] += 1
        counts[_PUNCTUATION] += kind & _PUNCT > 0
        if kind & _ALNUM:
            counts[_LETTERS] += kind & _ALPHA > 0
            counts[_CAPITALS] += kind & _UPPER > 0
            counts[_DIGITS] += kind & _DIGIT > 0
            if alphanumeric == 0:
                capital = kind & _UPPER > 0
            elif gap:
                heard += count_syllables(letters, many)
                many = 0
            compound, inner_stop = compound or hyphen, inner_stop or stop
            hyphen, stop, gap = False, False, False
            alphanumeric += 1
            h = (h ^ np.uint64(lower[point] if point < len(lower) else point)) * _PRIME
            word = h
            base = bases[point] if point < len(bases) else np.uint8(0)
            if base > 0 and many < len(letters):
                letters[many] = base
                many += 1
        elif alphanumeric > 0:
            h = (h ^ np.uint64(point)) * _PRIME
            hyphen, stop = hyphen or _is_hyphen(point), stop or point == _STOP
            gap = gap or not _is_apostrophe(point)
        if kind & _TERMINAL:
            terminal, last = True, point
        elif kind & _CLOSER == 0:
            terminal = False
        i = after
    if alphanumeric > 0:
        heard = max(heard + count_syllables(letters, many), 1)
        counts[_WORDS] += 1
        counts[_ALPHANUMERIC] += alphanumeric
        counts[_LONG] += alphanumeric >= LONG
        counts[_SYLLABLES] += heard
        counts[_POLYSYLLABLES] += heard >= MANY
        counts[_COMPLEX] += not compound and (first or not capital) and _is_complex(letters, many, heard)
        short = alphanumeric == 1 or (alphanumeric < 4 and inner_stop)  # as in J. or e.g.
        terminal = terminal and not (short and last == _STOP)
    return i, word, terminal


@kernel
def _count(data: Any, starts: Any, ends: Any, tables: Any, scratch: Any, counts: Any) -> None:
    classes, hashes, columns = tables[0], tables[3], tables[4]
    letters, types = scratch
    for row in range(len(starts)):
        i, end, mine = starts[row], ends[row], counts[row]
        mask = clear(types, (end - i) // 2 + 1)
        open_words, feeds = 0, 0
        while i < end:
            point, after = np.int64(data[i]), i + 1
            if point >= 0x80:
                point, after = decode(data, i, end)
            if classes[point] & _SPACE:
                feeds += point == _LINE_FEED
                i = after
                continue
            if feeds > 1 and open_words > 0:  # an empty line
                mine[_SENTENCES] += 1
                open_words = 0
            feeds, before = 0, mine[_WORDS]
            i, word, terminal = _read_run(data, i, end, open_words == 0, tables, letters, mine)
            if mine[_WORDS] > before:
                open_words += 1
                for k in range(len(hashes)):
                    if hashes[k] == word:
                        mine[columns[k]] += 1
                at = place(types, mask, fold_product(word ^ _STEP, _STEP))
                mine[_TYPES] += types[1][at] == 0
                types[1][at] = 1
            if terminal and open_words > 0:
                mine[_SENTENCES] += 1
                open_words = 0
        mine[_SENTENCES] += open_words > 0


def reference(text: str) -> dict[str, int]:
    """The counts of one text by Python's own strings."""
    counts, types = dict.fromkeys(NAMES, 0), set()
    open_words = 0

    def close(ended: bool) -> None:
        nonlocal open_words
        counts["sentences"] += ended and open_words > 0
        open_words = 0 if ended else open_words

    for space, run in re.findall(r"(\s*)(\S+)", text):
        close(space.count("\n") > 1)
        inside = [i for i, char in enumerate(run) if char.isalnum()]
        counts["ink"] += len(run)
        counts["punctuation"] += sum(unicodedata.category(char)[0] == "P" for char in run)
        ended = run.rstrip("".join(char for char in run if _closes(char)))[-1:]
        if inside:
            word = run[inside[0] : inside[-1] + 1]
            _add_word(word, open_words == 0, counts)
            types.add("".join(map(_lower, word)))
            open_words += 1
            if ended == "." and (len(inside) == 1 or (len(inside) < 4 and "." in word)):
                ended = ""
        close(ended in TERMINALS)
    close(True)
    return counts | {"types": len(types)}


def _closes(char: str) -> bool:
    return char not in TERMINALS and (char in _CLOSERS or unicodedata.category(char) in ("Pe", "Pf"))


def _lower(char: str) -> str:
    return {"İ": "i", "Σ": "σ"}.get(char, char.lower())


def _add_word(word: str, first: bool, counts: dict[str, int]) -> None:
    alphanumeric = [char for char in word if char.isalnum()]
    counts["letters"] += sum(map(str.isalpha, alphanumeric))
    counts["capitals"] += sum(char.isupper() or char.istitle() for char in alphanumeric)
    counts["digits"] += sum(map(str.isdecimal, alphanumeric))
    parts = [
        "".join(base for char in piece if (base := _base(char)))[:MOST_LETTERS]
        for piece in _gaps(word).split("\0")
    ]
    heard = max(sum(map(syllables.reference, parts)), 1)
    last = syllables.reference(parts[-1])
    stem = re.sub(r"(es|ed|ing)$", "", parts[-1]) if len(parts[-1]) > 2 else parts[-1]
    capital = alphanumeric[0].isupper() or alphanumeric[0].istitle()
    counts["words"] += 1
    counts["alphanumeric"] += len(alphanumeric)
    counts["long_words"] += len(alphanumeric) >= LONG
    counts["syllables"] += heard
    counts["polysyllables"] += heard >= MANY
    complex_ = heard >= MANY and heard - last + syllables.reference(stem) >= MANY
    counts["complex_words"] += complex_ and (first or not capital) and not set(word) & set(_HYPHENS)
    lowered = "".join(map(_lower, word))
    counts["coordinating"] += lowered in COORDINATING
    counts["subordinating"] += lowered in SUBORDINATING


def _gaps(word: str) -> str:
    """The word with a NUL for each character that parts it."""
    return "".join(char if char.isalnum() or char in _APOSTROPHES else "\0" for char in word)


def _base(char: str) -> str:
    """The letter a-z that a Latin letter is without its marks."""
    base = unicodedata.normalize("NFD", char)[0].lower() if ord(char) < _LATIN else ""
    return base if "a" <= base <= "z" else ""
