"""The hashed n-grams of a document's units, as a stream of chunks or as sets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels import units
from operators.kernels.jit import kernel, part
from operators.kernels.simd import fold_product
from operators.kernels.text_buffers import text_buffers

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

Unit = Literal["words", "characters", "tokens"]
Numbers = Literal["keep", "zero"]
Case = Literal["fold", "keep"]
Punctuation = Literal["drop", "keep"]

SCHEME = "shingles2"  # another name for other hashes

_GRAM_STEP = np.uint64(0xD6E8FEB86659FD93)
_GRAM_START, _GRAM_END = np.uint64(0x452821E638D01377), np.uint64(0xBE5466CF34E90C6D)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_AT_ONCE = 2**16  # hashes
_LEAST = np.uint64(2**32)
_0, _1 = np.uint64(0), np.uint64(1)


@dataclass(frozen=True)
class Shingling:
    """What a text is cut into: n-grams of `ngram` units.

    unit: `words` are the maximal runs of `\\w` in the lower-cased text; `characters` its code points,
    each run of white space as one space and none at the ends; `tokens` the integers of a list column.
    numbers: `zero` reads each run of decimal digits as one `0`. case: `keep` does not lower-case.
    punctuation: `keep` makes a word of each character that is neither in a word nor white space.
    Bytes that are no UTF-8, and U+FFFD, count as white space. A text of 1 to n units is one n-gram.
    """

    unit: Unit = "words"
    ngram: int = 5
    numbers: Numbers = "keep"
    case: Case = "fold"
    punctuation: Punctuation = "drop"

    def __post_init__(self) -> None:
        if self.unit == "characters" and self.punctuation == "keep":
            raise ValueError("punctuation: keep is for unit: words; unit: characters keeps every character")
        if self.unit == "tokens" and (self.numbers, self.case, self.punctuation) != ("keep", "fold", "drop"):
            raise ValueError("unit: tokens takes integers as they are: leave out numbers, case, punctuation")

    @property
    def name(self) -> str:
        """Names the hashes: those of shinglings with other names must not be compared."""
        parts = (SCHEME, self.unit, self.ngram, self.numbers, self.case, self.punctuation)
        return "-".join(map(str, parts))

    @property
    def rules(self) -> tuple[np.uint8, np.uint8, np.uint8, np.uint8]:
        """(unit, fold, zero, punctuation) as the kernels of `units` take them."""
        unit = {"words": units.WORDS, "characters": units.CHARACTERS, "tokens": units.TOKENS}[self.unit]
        flags = self.case == "fold", self.numbers == "zero", self.punctuation == "keep"
        fold, zero, punctuation = (np.uint8(255 * flag) for flag in flags)
        return np.uint8(unit), fold, zero, punctuation


def spans(column: pa.Array, shingling: Shingling) -> tuple[npt.NDArray[np.uint8], Int64s, Int64s]:
    """(bytes, starts, ends) of n documents, all read-only: one type, so the kernels are compiled once.

    Integers are eight bytes each. Raises TypeError where the column is not what the unit needs.
    """
    if shingling.unit == "tokens":
        data, starts, ends = _token_buffers(column)
    elif pa.types.is_large_string(column.type):
        data, starts, ends = text_buffers(column)
    else:
        raise TypeError(f"unit: {shingling.unit} needs a column of large_string, got {column.type}")
    return read_only(data), read_only(starts), read_only(ends)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that numba takes for the same type whether or not the array may be written."""
    view = array.view()
    view.flags.writeable = False
    return view


def _token_buffers(column: pa.Array) -> tuple[npt.NDArray[np.uint8], Int64s, Int64s]:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_integer(
        kind.value_type
    ):
        raise TypeError(f"unit: tokens needs a column of lists of integers, got {kind}")
    if column.values.null_count:
        raise ValueError("unit: tokens: a list holds a null where a token id should be")
    offsets = np.asarray(column.offsets).astype(np.int64) * 8
    starts, ends = offsets[:-1], offsets[1:]
    if column.null_count:
        ends = np.where(column.is_valid().to_numpy(zero_copy_only=False), ends, starts)
    return np.asarray(column.values).astype(np.int64).view(np.uint8), starts, ends


@part
def mix(x: Any) -> Any:
    """The finaliser of SplitMix64: a bijection of uint64."""
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    return x ^ (x >> np.uint64(31))


@part
def _hash_of(gram: Any) -> Any:
    """The hash of an n-gram; its top half, which MinHash permutes, is never 0."""
    return max(fold_product(gram ^ _GRAM_START, _GRAM_END), _LEAST)


@part
def next_grams(data: Any, start: int, end: int, rules: Any, ngram: int, scratch: Any) -> Any:
    """Reads the next chunk of data[start:end]: (first, stop), so that grams[first:stop] are the hashes
    of the n-grams that end in it. A text of 1 to n - 1 units has its one n-gram in its last chunk."""
    count = units.next_units(data, start, end, rules, ngram, scratch)
    _, _, ring, grams, cursor, _, _ = scratch
    power = _1
    for _ in range(ngram):
        power *= _GRAM_STEP
    # The polynomial of the last n units in _GRAM_STEP, mod 2^64: the oldest leaves, the new one enters.
    gram, n, k, stop = np.uint64(cursor[units.GRAM]), np.uint64(ngram), _0, np.uint64(count)
    while k < stop:
        change = ring[k + n] - ring[k] * power
        gram = gram * _GRAM_STEP + change
        grams[k] = _hash_of(gram)
        k += _1
    for j in range(n):
        ring[j] = ring[stop + j]
    before = cursor[units.TOTAL]
    cursor[units.GRAM], cursor[units.TOTAL] = np.int64(gram), before + count
    if cursor[units.AT] >= end and 0 < before + count < ngram:
        grams[0] = _hash_of(gram)
        return np.int64(0), np.int64(1)
    return min(count, max(np.int64(0), ngram - 1 - before)), count


@kernel
def _list(
    data: Any, starts: Any, ends: Any, rules: Any, ngram: int, scratch: Any, rows: Any, limits: Any, out: Any
) -> None:
    """Writes all n-grams' hashes of the texts rows[0] to rows[1], one behind the other."""
    grams, cursor = scratch[3], scratch[4]
    at = 0
    for row in range(rows[0], rows[1]):
        units.rewind(starts[row], ngram, scratch)
        while cursor[units.AT] < ends[row]:
            first, stop = next_grams(data, starts[row], ends[row], rules, ngram, scratch)
            for k in range(first, stop):
                out[at] = grams[k]
                at += 1
        limits[row + 1] = at


@kernel
def _distinct(ascending: Any, rows: Any, limits: Any, out: Any) -> None:
    """Writes each ascending list without its repeats behind those of the rows before."""
    first, at = 0, limits[rows[0]]
    for row in range(rows[0], rows[1]):
        for k in range(first, limits[row + 1]):
            if k == first or ascending[k - 1] != ascending[k]:
                out[at] = ascending[k]
                at += 1
        first, limits[row + 1] = limits[row + 1], at


def shingle_lists(
    column: pa.Array, shingling: Shingling, rows: Int64s | None = None
) -> tuple[Int64s, UInt64s]:
    """The shingle sets of n documents, each ascending: offsets (n + 1,) int64 and all hashes in a row.

    column: large_string, or lists of integers for `unit: tokens`; a null is an empty document. rows:
    the documents of these rows, in this order, instead of all.
    """
    data, starts, ends = spans(column, shingling)
    if rows is not None:
        starts, ends = read_only(starts[rows]), read_only(ends[rows])
    short = shingling.unit == "words" and shingling.punctuation == "drop"  # a word and what ends it
    most = (ends - starts) // 2 + 1 if short else ends - starts + 1
    sums = np.concatenate([[0], np.cumsum(most)])
    limits, hashes = np.zeros(len(starts) + 1, np.int64), np.empty(sums[-1], np.uint64)
    scratch, first = units.scratch(shingling.ngram), 0
    while first < len(
        starts
    ):  # some texts at a time, so that the lists stay in the cache until they are sets
        last = max(first + 1, int(np.searchsorted(sums, sums[first] + _AT_ONCE, "right")) - 1)
        lists = np.empty(sums[last] - sums[first], np.uint64)
        _list(data, starts, ends, shingling.rules, shingling.ngram, scratch, (first, last), limits, lists)
        for a, b in pairwise([0, *limits[first + 1 : last + 1].tolist()]):
            lists[a:b].sort()  # numpy sorts with vector instructions, numba does not
        _distinct(lists, (first, last), limits, hashes)
        first = last
    hashes.resize(limits[-1], refcheck=False)  # the pages behind were never touched
    return limits, hashes


def units_reference(text: bytes, shingling: Shingling) -> list[str]:
    """The words or characters by Python's own string methods and regular expressions."""
    chars = text.decode("utf-8", "replace")
    chars = (chars.lower() if shingling.case == "fold" else chars).replace("\ufffd", " ")
    if shingling.unit == "characters":
        chars = " ".join(chars.split())
        return list(re.sub(r"\d+", "0", chars) if shingling.numbers == "zero" else chars)
    words = re.findall(r"\w+|[^\w\s]" if shingling.punctuation == "keep" else r"\w+", chars)
    return [re.sub(r"\d+", "0", word) for word in words] if shingling.numbers == "zero" else words


def reference(text: bytes, shingling: Shingling) -> list[int]:
    """The hashes of all n-grams, in order and with repeats, in Python integers."""
    if shingling.unit == "characters":
        return grams_reference(
            [ord(c).to_bytes(8, "little") for c in units_reference(text, shingling)], shingling
        )
    words = (word.encode().replace(b"\0", b"\xc0\x80") for word in units_reference(text, shingling))
    return grams_reference(list(words), shingling)


def grams_reference(parts: list[bytes], shingling: Shingling) -> list[int]:
    """The hashes of the n-grams of units: a word's bytes, or eight bytes of a character or token."""
    n, hashes = shingling.ngram, {part: units.reference(part) for part in set(parts)}
    grams = [tuple(parts[i : i + n]) for i in range(max(1, len(parts) - n + 1))] if parts else []
    known = {gram: _gram_reference([hashes[part] for part in gram]) for gram in set(grams)}
    return [known[gram] for gram in grams]


def _gram_reference(hashes: list[int]) -> int:
    value = sum(x * int(_GRAM_STEP) ** k for k, x in enumerate(reversed(hashes))) % 2**64
    return max(units.fold_product_reference(value ^ int(_GRAM_START), int(_GRAM_END)), 2**32)
