"""The verdict of an index on a document: near to one that is known already, or not."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, TEXT, Adds, Columns, IndexPaths, Kind, MapOp, Reads, Uses, drop_column
from operators.kernels.lists import flat
from operators.kernels.near_index import open_index
from operators.kernels.overlaps import Measure, similarity
from operators.kernels.shingles import Case, Numbers, Punctuation, Shingling, Unit, shingle_lists

Int64s = npt.NDArray[np.int64]


class NearAgainst(MapOp):
    """Compares the n-gram sets of a document and of its candidates in near-duplicate indexes exactly
    (up to collisions of 64-bit hashes).

    A part of `minhash_dedup`: reads its part `lookup`. With `side: new` a document that is near an
    indexed one goes: `drop` is "near_duplicate_of_index", `kept_id` and `kept_source` name the most
    similar indexed document (ties: the first in the index), `similarity` says how similar. With
    `side: indexed` it stays: `supersedes` lists the ids of all indexed documents that it is near to,
    `superseded` their references, by which `tamis index add` takes them out of the index.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    where: ClassVar[str] = "/lookup.found"

    against: IndexPaths = ()
    """The parts of the indexes."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The similarity from which two documents are near duplicates."""
    measure: Measure = "jaccard"
    """`jaccard`: shared over all n-grams of both; `containment`: shared over those of the one that goes."""
    side: Literal["new", "indexed"] = "new"
    """Which one of two near duplicates goes."""
    column: str = "text"
    """The text column; for `unit: tokens` a column of lists of integers."""
    unit: Unit = "words"
    """What n-grams are made of."""
    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Units in an n-gram."""
    numbers: Numbers = "keep"
    """`zero`: runs of digits read as 0."""
    case: Case = "fold"
    """`fold`: the text is lower-cased first."""
    punctuation: Punctuation = "drop"
    """`keep`: each character that is neither in a word nor white space is a word of its own."""

    @property
    def reads(self) -> Reads:
        return {
            self.column: Kind.INTEGERS if self.unit == "tokens" else TEXT,
            "/lookup.candidates": pa.list_(pa.uint64()),
            "/lookup.found": pa.bool_(),
        }

    @property
    def adds(self) -> Adds:
        if self.side == "indexed":
            return {"supersedes": pa.list_(pa.string()), "superseded": pa.list_(pa.uint64())}
        return {"drop": DROP, "kept_id": pa.string(), "kept_source": pa.string(), "similarity": pa.float32()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        lengths, reference = flat(batch.column("/lookup.candidates"))
        rows = np.flatnonzero(lengths)
        shingling = Shingling(self.unit, self.ngram, self.numbers, self.case, self.punctuation)
        offsets, hashes = shingle_lists(batch.column(self.column), shingling, rows)
        pair = np.repeat(np.arange(len(rows)), lengths[rows])
        both, size = open_index(self.against or ()).shared(offsets, hashes, pair, reference)
        new, old = np.diff(offsets)[pair], size
        goes, stays = (new, old) if self.side == "new" else (old, new)
        near = similarity(both, goes, stays, self.measure)
        same = near >= self.threshold
        row, reference, near = rows[pair[same]], reference[same], near[same]
        return (
            self._new(batch, row, reference, near) if self.side == "new" else self._old(batch, row, reference)
        )

    def _new(self, batch: pa.RecordBatch, row: Int64s, reference: Any, near: Any) -> Columns:
        index = open_index(self.against or ())
        order = np.lexsort([index.order(reference), -near, row])
        best = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
        ids, sources, _ = index.names(reference[best])
        goes = np.zeros(batch.num_rows, bool)
        goes[row[best]] = True
        place = np.cumsum(goes) - 1
        nearest = np.zeros(batch.num_rows, np.float32)
        nearest[goes] = near[best]

        def spread(names: list[str]) -> pa.Array:
            return pa.array(names, pa.string()).take(pa.array(place, mask=~goes))

        return {
            "drop": drop_column(np.where(goes, 0, -1), ["near_duplicate_of_index"]),
            "kept_id": spread(ids),
            "kept_source": spread(sources),
            "similarity": pa.array(nearest, mask=~goes),
        }

    def _old(self, batch: pa.RecordBatch, row: Int64s, reference: Any) -> Columns:
        ids, _, _ = open_index(self.against or ()).names(reference)
        offsets = pa.array(np.searchsorted(row, np.arange(batch.num_rows + 1)), pa.int32())
        none = pa.array(np.bincount(row, minlength=batch.num_rows) == 0)
        values = {"supersedes": pa.array(ids, pa.string()), "superseded": pa.array(reference)}
        return {name: pa.ListArray.from_arrays(offsets, v, mask=none) for name, v in values.items()}
