r"""The exact near-duplicate pairs of a corpus, and what a deduplicator removed beside them.

Words are runs of `\w` of the lower-cased text, shingles the set of its word 5-grams (a text of up to 5 words
is one shingle), as in the pairs files that come with corpora. Nothing here is tamis's: Python's regular
expressions and hashes, numpy's sets. The join is exact, not a sketch (Chaudhuri et al. 2006; Bayardo et al.
2007, AllPairs): in any one order of all shingles, two sets with a Jaccard index of at least t share one among
the |x| - ceil(t |x|) + 1 first of each; the rarest first makes few candidates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from operators.kernels.counter import mix64

NGRAM = 5
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
MOST_COUNT_BITS = 24  # of a hash: shingles are counted by these, to know the rare ones
PAIRS_AT_ONCE = 1 << 24
_words = re.compile(r"\w+").findall

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Pairs:
    """a < b: places of the two documents in the corpus; jaccard: exact index, at least `floor`."""

    a: Int64s
    b: Int64s
    jaccard: npt.NDArray[np.float64]
    floor: float


def shingle_set(text: str) -> UInt64s:
    """The distinct shingles of a text as 64-bit hashes, ascending. They hold for this process only."""
    words = _words(text.lower())
    if not words:
        return np.empty(0, np.uint64)
    hashes = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    size = min(NGRAM, len(words))
    with np.errstate(over="ignore"):
        grams = np.full(len(words) - size + 1, size, np.uint64)
        for k in range(size):
            grams = mix64(grams * MULTIPLIER + hashes[k : k + len(grams)])
    return np.unique(grams)


def shingle_sets(corpus: Path) -> tuple[Int64s, UInt64s]:
    """(n + 1,) offsets and the shingle sets of all documents, one after the other."""
    sizes: list[int] = [0]
    parts: list[UInt64s] = []
    for batch in pq.ParquetFile(corpus).iter_batches(2048, columns=["text"]):
        sets = [shingle_set(text or "") for text in batch.column("text").to_pylist()]
        sizes += [len(one) for one in sets]
        parts.append(np.concatenate(sets))
    return np.cumsum(sizes), np.concatenate(parts) if parts else np.empty(0, np.uint64)


def exact_pairs(corpus: Path, floor: float) -> Pairs:
    """All pairs with a Jaccard index of at least `floor`."""
    offsets, hashes = shingle_sets(corpus)
    found: list[UInt64s] = [np.empty(0, np.uint64)]
    for candidates in _candidates(*_prefixes(offsets, hashes, floor), np.diff(offsets), floor):
        found.append(candidates)
        if sum(map(len, found)) > PAIRS_AT_ONCE:
            found = [np.unique(np.concatenate(found))]
    pairs = np.unique(np.concatenate(found))
    a, b = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
    jaccard = np.array([_jaccard(hashes, offsets, i, j) for i, j in zip(a, b, strict=True)], np.float64)
    near = jaccard >= floor
    return Pairs(a[near], b[near], jaccard[near], floor)


def _prefixes(offsets: Int64s, hashes: UInt64s, floor: float) -> tuple[UInt64s, Int64s]:
    """The rarest shingles of every document, enough of them, and whose they are; sorted by shingle."""
    bits = min(MOST_COUNT_BITS, len(hashes).bit_length())
    cell = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    counts = np.minimum(np.bincount(cell, minlength=1 << bits), 0xFFFF).astype(np.uint64)
    keys, owners = [], []
    for row in range(len(offsets) - 1):
        low, high = offsets[row], offsets[row + 1]
        if low == high:
            continue
        # The count first, then the hash: one order of all shingles, whatever the counts' collisions.
        ranked = (counts[cell[low:high]] << np.uint64(48)) | (hashes[low:high] >> np.uint64(16))
        size = int(high - low)
        wanted = size - math.ceil(floor * size - 1e-9) + 1
        keys.append(np.sort(ranked)[:wanted])
        owners.append(np.full(wanted, row, np.int64))
    if not keys:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    key, owner = np.concatenate(keys), np.concatenate(owners)
    order = np.argsort(key, kind="stable")
    return key[order], owner[order]


def _candidates(key: UInt64s, owner: Int64s, sizes: Int64s, floor: float) -> Iterator[UInt64s]:
    """a << 32 | b of documents that share a prefix shingle and whose sizes allow the floor, some repeated."""
    here = np.arange(len(key) - 1)
    shift = 1
    while len(here):
        here = here[here + shift < len(key)]
        here = here[key[here] == key[here + shift]]
        a, b = owner[here], owner[here + shift]  # ascending within a shingle: the sort is stable
        small, large = np.minimum(sizes[a], sizes[b]), np.maximum(sizes[a], sizes[b])
        fits = (small >= floor * large - 1e-9) & (a != b)
        yield np.unique((a[fits].astype(np.uint64) << np.uint64(32)) | b[fits].astype(np.uint64))
        shift += 1


def _jaccard(hashes: UInt64s, offsets: Int64s, i: int, j: int) -> float:
    one, two = hashes[offsets[i] : offsets[i + 1]], hashes[offsets[j] : offsets[j + 1]]
    common = len(np.intersect1d(one, two, assume_unique=True))
    return common / (len(one) + len(two) - common)


def read_ids(corpus: Path) -> list[str]:
    """The ids of a Parquet file, or of all in a folder, in order."""
    files = sorted(corpus.glob("*.parquet")) if corpus.is_dir() else [corpus]
    return [name for file in files for name in pq.ParquetFile(file).read(columns=["id"])["id"].to_pylist()]


def write_pairs(pairs: Pairs, ids: list[str], path: Path) -> None:
    """As a Parquet file of id_a, id_b, jaccard5w."""
    names = pa.array(ids)
    columns = {"id_a": names.take(pa.array(pairs.a)), "id_b": names.take(pa.array(pairs.b))}
    table = pa.table({**columns, "jaccard5w": pairs.jaccard})
    table = table.replace_schema_metadata({"floor": str(pairs.floor)})
    pq.write_table(table, path, compression="zstd")


def read_pairs(path: Path, ids: list[str], floor: float) -> Pairs:
    """The pairs at or above the floor; the file must hold all of them."""
    place = {name: row for row, name in enumerate(ids)}
    table = pq.ParquetFile(path).read(columns=["id_a", "id_b", "jaccard5w"])
    sides = [np.array([place[n] for n in table[c].to_pylist()], np.int64) for c in ("id_a", "id_b")]
    # Files may hold the index in 32 bits: exactly 0.8 must stay at or above 0.8.
    jaccard = np.round(table["jaccard5w"].to_numpy().astype(np.float64), 6)
    near = jaccard >= floor
    a, b = np.minimum(*sides)[near], np.maximum(*sides)[near]
    return Pairs(a, b, jaccard[near], floor)


def judge(pairs: Pairs, ids: list[str], kept: list[str], threshold: float) -> dict[str, int]:
    """What a deduplicator did, in counts.

    removed: documents. wrong: removed without any partner of at least the threshold. far: removed without
    any of at least the pairs' floor. alone: removed without a *kept* partner of at least the threshold.
    pairs: true pairs. lost: true pairs with both still there. ValueError where a kept id is unknown or
    comes twice.
    """
    place = {name: row for row, name in enumerate(ids)}
    unknown = next((name for name in kept if name not in place), None)
    if unknown is not None or len(set(kept)) < len(kept):
        raise ValueError(f"kept ids must be distinct ids of the corpus; {unknown or 'one comes twice'}")
    stays = np.zeros(len(ids), bool)
    stays[[place[name] for name in kept]] = True
    true = pairs.jaccard >= threshold
    a, b = pairs.a[true], pairs.b[true]
    return {
        "removed": int((~stays).sum()),
        "wrong": int((~stays & ~_touched(len(ids), a, b)).sum()),
        "far": int((~stays & ~_touched(len(ids), pairs.a, pairs.b)).sum()),
        "alone": int((~stays & ~_touched(len(ids), a[stays[b]], b[stays[a]])).sum()),
        "pairs": len(a),
        "lost": int((stays[a] & stays[b]).sum()),
    }


def _touched(rows: int, a: Int64s, b: Int64s) -> npt.NDArray[np.bool_]:
    """Which rows are an end of a pair."""
    found = np.zeros(rows, bool)
    found[a] = True
    found[b] = True
    return found
