"""BM25 of documents against many queries: words, a table of the queries' words, and the best of each query.

A word is a run of ASCII letters and digits, in lower case, and of bytes from 0x80 on; its hash is FNV-1a
(64 bits) with the finaliser of SplitMix64, and never changes: it is part of stored results.

Legend: Q queries, V different words in them, P pairs of a word and a query, k best documents of a query.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import inlined, kernel
from operators.kernels.shingles import mix

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

_LOWER = np.zeros(256, np.uint64)  # 0 where no word is
_LOWER[[*range(48, 58), *range(97, 123), *range(128, 256)]] = [
    *range(48, 58),
    *range(97, 123),
    *range(128, 256),
]
_LOWER[65:91] = _LOWER[97:123]
_BASIS, _PRIME = 0xCBF29CE484222325, 0x100000001B3

NOBODY = np.iinfo(np.int64).max  # the uid in a place that no document has


class Postings(NamedTuple):
    """The words of all queries. cells: (2^s,) uint64 hashes, open addressing, 0 where none is. slots: (2^s,)
    int32, which word each cell is. offsets: (V + 1,) the pairs of word v are offsets[v]:offsets[v + 1];
    query, times: (P,) which query, and how often it has the word."""

    cells: UInt64s
    slots: npt.NDArray[np.int32]
    offsets: Int64s
    query: Int64s
    times: Int64s


class Shape(NamedTuple):
    """BM25's constants, and the mean number of words in a document."""

    k1: float
    b: float
    mean: float


@inlined
def _place(cells: Any, h: Any) -> Any:
    """The cell that holds this hash, or the free one where it belongs."""
    mask = np.uint64(len(cells) - 1)
    i = h & mask
    while cells[i] != np.uint64(0) and cells[i] != h:
        i = (i + np.uint64(1)) & mask
    return i


@kernel
def list_words(data: Bytes, starts: Int64s, ends: Int64s) -> tuple[Int64s, UInt64s]:
    """(w,) row and hash of every word of the texts data[starts[r]:ends[r]], in reading order; never 0."""
    total = 0
    for row in range(len(starts)):
        total += (ends[row] - starts[row] + 1) // 2
    rows, hashes, n = np.empty(total, np.int64), np.empty(total, np.uint64), 0
    for row in range(len(starts)):
        h, inside = np.uint64(_BASIS), False
        for i in range(starts[row], ends[row] + 1):
            low = _LOWER[data[i]] if i < ends[row] else np.uint64(0)
            if low:
                h, inside = (h ^ low) * np.uint64(_PRIME), True
            elif inside:
                rows[n], hashes[n] = row, max(mix(h), np.uint64(1))
                h, inside, n = np.uint64(_BASIS), False, n + 1
    return rows[:n], hashes[:n]


@kernel
def fill_table(hashes: UInt64s, cells: UInt64s, slots: npt.NDArray[np.int32]) -> None:
    """Puts different hashes (V,) into an empty table."""
    for v in range(len(hashes)):
        i = _place(cells, hashes[v])
        cells[i], slots[i] = hashes[v], v


@inlined
def _count(cells: Any, slots: Any, h: Any, counts: Any, seen: Any, found: Any) -> Any:
    """Counts one word if a query has it; how many different ones the document has so far."""
    i = _place(cells, h)
    if cells[i] == h:
        v = slots[i]
        if counts[v] == 0:
            seen[found] = v
            found += 1
        counts[v] += 1
    return found


@kernel
def _document(data: Bytes, start: int, end: int, cells: Any, slots: Any, counts: Any, seen: Any) -> Any:
    """(words of the text, different ones that a query has): these are in seen[:found], in the order in which
    they come, each `counts` times."""
    words, found, h, inside = 0, 0, np.uint64(_BASIS), False
    for i in range(start, end + 1):
        low = _LOWER[data[i]] if i < end else np.uint64(0)
        if low:
            h, inside = (h ^ low) * np.uint64(_PRIME), True
        elif inside:
            found = _count(cells, slots, max(mix(h), np.uint64(1)), counts, seen, found)
            words += 1
            h, inside = np.uint64(_BASIS), False
    return words, found


@kernel
def document_counts(data: Bytes, starts: Int64s, ends: Int64s, known: Postings) -> tuple[Int64s, int, int]:
    """(V,) documents that hold each word; documents that hold any; their words."""
    size = len(known.offsets) - 1
    documents, counts, seen = np.zeros(size, np.int64), np.zeros(size, np.int64), np.empty(size, np.int64)
    filled, total = 0, 0
    for row in range(len(starts)):
        words, found = _document(data, starts[row], ends[row], known.cells, known.slots, counts, seen)
        for v in seen[:found]:
            documents[v] += 1
            counts[v] = 0
        filled, total = filled + (words > 0), total + words
    return documents, filled, total


@inlined
def _insert(scores: Any, uids: Any, score: Any, uid: Any) -> None:
    """Puts a document into one query's list, best first, of equal ones the lower uid, if it belongs there."""
    at = len(scores) - 1
    if score < scores[at] or (score == scores[at] and uid > uids[at]):
        return
    while at > 0 and (score > scores[at - 1] or (score == scores[at - 1] and uid < uids[at - 1])):
        scores[at], uids[at] = scores[at - 1], uids[at - 1]
        at -= 1
    scores[at], uids[at] = score, uid


@kernel
def best_documents(
    data: Bytes, starts: Int64s, ends: Int64s, uid: Int64s, known: Postings, idf: Floats, shape: Shape,
    scores: Floats, uids: Int64s,
) -> None:  # fmt: skip
    """Puts every document into the lists (Q, k) of the queries that it is among the best of.

    The order of summation is that of a document's words, so a score depends on the document alone."""
    size = len(known.offsets) - 1
    counts, seen = np.zeros(size, np.int64), np.empty(size, np.int64)
    sums, touched = np.zeros(len(scores)), np.empty(len(scores), np.int64)
    for row in range(len(starts)):
        words, found = _document(data, starts[row], ends[row], known.cells, known.slots, counts, seen)
        norm, reached = shape.k1 * (1 - shape.b + shape.b * words / shape.mean), 0
        for v in seen[:found]:
            part = idf[v] * counts[v] / (counts[v] + norm)
            counts[v] = 0
            for p in range(known.offsets[v], known.offsets[v + 1]):
                q = known.query[p]
                if sums[q] == 0:
                    touched[reached] = q
                    reached += 1
                sums[q] += part * known.times[p]
        for q in touched[:reached]:
            _insert(scores[q], uids[q], sums[q], uid[row])
            sums[q] = 0


@kernel
def merge_lists(scores: Floats, uids: Int64s, more: Floats, more_uids: Int64s) -> None:
    """Puts all of the second lists (Q, k) into the first ones."""
    for q in range(len(scores)):
        for i in range(more.shape[1]):
            if more_uids[q, i] == NOBODY:
                break
            _insert(scores[q], uids[q], more[q, i], more_uids[q, i])


def inverse_frequencies(documents: Int64s, filled: int) -> Floats:
    """(V,) idf, above 0: ln(1 + (N - df + 0.5) / (df + 0.5)) of N documents."""
    return np.log1p((filled - documents + 0.5) / (documents + 0.5))


def reference_words(text: bytes) -> list[bytes]:
    """The words of one text, by a regular expression."""
    return re.findall(rb"(?:[a-z0-9]|[\x80-\xff])+", text.lower())


def reference(queries: Sequence[bytes], documents: Sequence[bytes], k1: float, b: float) -> Floats:
    """(queries, documents) BM25 in plain Python."""
    bags = [Counter(reference_words(text)) for text in documents]
    lengths = [bag.total() for bag in bags]
    filled = sum(length > 0 for length in lengths)
    mean = sum(lengths) / max(filled, 1)
    df = Counter(word for bag in bags for word in bag)
    out = np.zeros((len(queries), len(documents)))
    for q, query in enumerate(queries):
        for word, times in Counter(reference_words(query)).items():
            idf = math.log(1 + (filled - df[word] + 0.5) / (df[word] + 0.5))
            for d, bag in enumerate(bags):
                if bag[word]:
                    norm = k1 * (1 - b + b * lengths[d] / mean)
                    out[q, d] += times * idf * bag[word] / (bag[word] + norm)
    return out
