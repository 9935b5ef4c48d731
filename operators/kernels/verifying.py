"""The exact similarity of candidate pairs: what the two verifications of near duplicates share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, Emission, Kind, Reads, ShuffleOp, Uses
from operators.kernels.asking import ask
from operators.kernels.lists import listed
from operators.kernels.overlaps import NOBODY, Measure, overlaps, similarity
from operators.kernels.searches import candidate_columns, candidates
from operators.kernels.shingles import Case, Numbers, Punctuation, Shingling, Unit, shingle_lists
from operators.kernels.taking import take_lists


class Verifying(ShuffleOp):
    """Compares the shingle sets of candidate pairs exactly (up to collisions of 64-bit hashes).

    A document that is followed sends its set under its own uid; a follower sends its set under the uid
    of each candidate. So sets of other documents never travel. `edges` lists the earlier documents that
    are similar enough, by uid, and `similarity` how similar.
    """

    order: ClassVar[tuple[str, ...]] = ("side",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    again: ClassVar[bool] = False  # whether it is about what only the second search has found
    follows: ClassVar[str] = "/followed.followed"  # who has to answer

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The similarity from which two documents are near duplicates."""
    measure: Measure = "jaccard"
    """`jaccard`: shared over all n-grams of both; `containment`: shared over those of the follower."""
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
            "uid": pa.int64(),
            self.column: Kind.INTEGERS if self.unit == "tokens" else TEXT,
            **candidate_columns(self.again),
            **{name: pa.bool_() for name in (self.follows, self.where)},
        }

    @property
    def adds(self) -> Adds:
        return {"edges": pa.list_(pa.int64()), "similarity": pa.list_(pa.float32())}

    @property
    def emits(self) -> Adds:
        return {"side": pa.uint8(), "shingles": pa.large_list(pa.uint64())}

    @property
    def replies(self) -> Adds:
        return {"partner": pa.int64(), "similarity": pa.float64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, near = candidates(batch, self.again)
        followed = batch.column(self.follows).to_numpy(zero_copy_only=False)
        row, key, side = ask(np.asarray(batch.column("uid")), followed, lengths, near)
        sets = self._sets(batch.column(self.column), row)
        return Emission(row, key, {"side": pa.array(side), "shingles": sets})

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        partner = NOBODY
        for batch in messages:
            key, side = (np.asarray(batch.column(name)) for name in ("key", "side"))
            sets = batch.column("shingles")
            offsets, hashes = np.asarray(sets.offsets), np.asarray(sets.values)
            both, size = overlaps(key, side, offsets, hashes, partner)
            near = similarity(both, np.diff(offsets), size, self.measure)
            firsts = np.flatnonzero(side == 0)
            if len(firsts):
                i = firsts[-1]
                partner = key[i : i + 1].copy(), hashes[offsets[i] : offsets[i + 1]].copy()
            partners = pa.array(key.astype(np.int64))
            yield {"partner": partners, "similarity": pa.array(np.where(side == 1, near, -1.0))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, partner, near = (np.asarray(replies.column(name)) for name in ("row", "partner", "similarity"))
        order = np.flatnonzero(near >= self.threshold)
        order = order[np.lexsort([partner[order], row[order]])]
        lengths = np.bincount(row[order], minlength=batch.num_rows)
        return {
            "edges": listed(lengths, partner[order], pa.int64()),
            "similarity": listed(lengths, near[order].astype(np.float32), pa.float32()),
        }

    def _sets(self, texts: pa.Array, row: np.ndarray) -> pa.Array:
        """The shingle set of each message's row; each is computed once."""
        rows, place = np.unique(row, return_inverse=True)
        shingling = Shingling(self.unit, self.ngram, self.numbers, self.case, self.punctuation)
        offsets, hashes = shingle_lists(texts, shingling, rows)
        return take_lists(offsets, hashes, place)
