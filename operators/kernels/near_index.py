"""A near-duplicate index: its parts looked up and compared as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.band_lookup import common, equal_bytes
from operators.kernels.buckets import slack
from operators.kernels.near_part import Chunk, Documents, Part, groups

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Index:
    """Parts that are looked at as one, in their order. A document that a later part supersedes is gone."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.parts = [Part(path) for path in dict.fromkeys(paths)]
        self.place = {part.tag: number for number, part in enumerate(self.parts)}
        if len(self.place) < len(self.parts):
            names = ", ".join(part.name for part in self.parts)
            raise ValueError(f"two parts of the index have one tag: {names}; leave one index out")
        gone = [part.removes() for part in self.parts]
        self.removed = np.unique(np.concatenate(gone)) if gone else np.zeros(0, np.uint64)

    @property
    def documents(self) -> int:
        there = np.isin(self.removed >> _HALF, np.fromiter(self.place, np.uint64, len(self.place)))
        return sum(part.rows for part in self.parts) - int(there.sum())

    def candidates(
        self, bands: UInt64s, signature: npt.NDArray[np.uint8], rows: Int64s, needed: int
    ) -> tuple[Int64s, UInt64s]:
        """(row, reference) of the indexed documents that share a band with a row and agree with it in
        at least `needed` bytes of the signature, sorted by row, then in the order of the index.

        bands: (n, bands); signature: (n, permutations); rows: those that are looked up."""
        found = [self._candidates(part, bands, signature, rows, needed) for part in self.parts]
        row = np.concatenate([np.zeros(0, np.int64), *(r for r, _ in found)])
        reference = np.concatenate([np.zeros(0, np.uint64), *(r for _, r in found)])
        order = np.argsort(row, kind="stable")
        return row[order], reference[order]

    def _candidates(
        self, part: Part, bands: UInt64s, signature: npt.NDArray[np.uint8], rows: Int64s, needed: int
    ) -> tuple[Int64s, UInt64s]:
        found = [np.zeros(0, np.uint64)]
        for query, ordinal in part.hits(bands[rows].reshape(-1)):
            pairs = np.unique(
                (query // bands.shape[1]).astype(np.uint64) << _HALF | ordinal.astype(np.uint64)
            )
            row, ordinal = rows[(pairs >> _HALF).astype(np.int64)], (pairs & _LOW).astype(np.int64)
            equal = np.empty(len(row), np.int32)
            for docs, at, local in _by_file(part, ordinal):
                few = np.empty(len(at), np.int32)
                equal_bytes(signature, row[at], docs.signature, local, few)
                equal[at] = few
            found.append(pairs[equal >= needed])
        pairs = np.unique(np.concatenate(found))  # a pair that shares bands of two ranges counts once
        row = rows[(pairs >> _HALF).astype(np.int64)]
        reference = np.uint64(part.tag) << _HALF | pairs & _LOW
        stays = ~np.isin(reference, self.removed)
        return row[stays], reference[stays]

    def shared(
        self, offsets: Int64s, hashes: UInt64s, row: Int64s, reference: UInt64s
    ) -> tuple[Int64s, Int64s]:
        """(numbers in both sets, size of the indexed set) of each pair of a row's set and a document.

        Set r is hashes[offsets[r] : offsets[r + 1]], ascending."""
        both, size = np.zeros(len(row), np.int64), np.zeros(len(row), np.int64)
        for chunk, at, local in self._by_chunk(reference):
            few = np.empty(len(at), np.int64)
            common(offsets, hashes, row[at], chunk.offsets, chunk.hashes, local, few)
            both[at], size[at] = few, np.diff(chunk.offsets)[local]
        return both, size

    def names(self, reference: UInt64s) -> tuple[list[str], list[str], list[str]]:
        """(ids, sources, heads) of documents."""
        ids, sources, heads = ([""] * len(reference) for _ in range(3))
        for part, at, ordinal in self._by_part(reference):
            for docs, inner, local in _by_file(part, ordinal):
                for chunk, deep, place in _by_start(docs, local):
                    where = at[inner[deep]].tolist()
                    taken = zip(
                        where,
                        *(a.take(pa.array(place)).to_pylist() for a in (chunk.ids, chunk.heads)),
                        strict=True,
                    )
                    for i, name, head in taken:
                        ids[i], sources[i], heads[i] = name, docs.source, head
        return ids, sources, heads

    def order(self, reference: UInt64s) -> UInt64s:
        """A number of each reference by which they stand in the order of the index."""
        tags = (reference >> _HALF).astype(np.int64)
        place = np.array([self.place[tag] for tag in tags.tolist()], np.uint64)
        return place << _HALF | reference & _LOW

    def chunks(self) -> Iterator[tuple[Documents, Chunk, npt.NDArray[np.bool_]]]:
        """(their file, some documents, which of them no part supersedes) of all parts in order."""
        for part in self.parts:
            for docs, base in zip(part.docs, part.bases.tolist(), strict=False):
                for number in range(len(docs.starts) - 1):
                    chunk = docs.chunk(number)
                    ordinal = (base + docs.starts[number] + np.arange(len(chunk.ids))).astype(np.uint64)
                    yield docs, chunk, ~np.isin(np.uint64(part.tag) << _HALF | ordinal, self.removed)

    def _by_part(self, reference: UInt64s) -> Iterator[tuple[Part, Int64s, Int64s]]:
        tags = (reference >> _HALF).astype(np.int64)
        for tag in np.unique(tags).tolist():
            at = np.flatnonzero(tags == tag)
            yield self.parts[self.place[tag]], at, (reference[at] & _LOW).astype(np.int64)

    def _by_chunk(self, reference: UInt64s) -> Iterator[tuple[Chunk, Int64s, Int64s]]:
        for part, at, ordinal in self._by_part(reference):
            for docs, inner, local in _by_file(part, ordinal):
                for chunk, deep, place in _by_start(docs, local):
                    yield chunk, at[inner[deep]], place


def _by_file(part: Part, ordinal: Int64s) -> Iterator[tuple[Documents, Int64s, Int64s]]:
    """(file, places in `ordinal`, rows in the file)."""
    number = np.searchsorted(part.bases, ordinal, side="right") - 1
    for i, at in groups(number):
        yield part.docs[i], at, ordinal[at] - part.bases[i]


def _by_start(docs: Documents, local: Int64s) -> Iterator[tuple[Chunk, Int64s, Int64s]]:
    """(chunk, places in `local`, rows in the chunk)."""
    number = np.searchsorted(docs.starts, local, side="right") - 1
    for i, at in groups(number):
        yield docs.chunk(i), at, local[at] - docs.starts[i]


@lru_cache(maxsize=4)
def open_index(paths: tuple[str, ...]) -> Index:
    """The parts as one index; parts never change, so that a process opens them once."""
    return Index(paths)


def least_equal_bytes(threshold: float, permutations: int) -> int:
    """Equal bytes of two signatures from which a pair is verified, in `near_candidates` as well."""
    return int(np.ceil((threshold - slack(threshold, permutations)) * permutations))
