"""The exact Jaccard index of candidate pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, Emission, Reads, ShuffleOp, Uses
from operators.kernels.lists import flat, listed
from operators.kernels.minhash import NOBODY, jaccard_with, shingle_lists
from operators.kernels.text_buffers import text_buffers


class NearVerify(ShuffleOp):
    """Compares the shingle sets of candidate pairs exactly (up to collisions of 64-bit hashes).

    A part of `minhash_dedup`: reads its parts `near`, `followed` and `rank`. A document that is
    followed sends its set under its own uid; a follower sends its set under the uid of each candidate.
    So sets of other documents never travel. `edges` lists the earlier documents with J >= threshold
    in keep order, `similarity` their J.
    """

    order: ClassVar[tuple[str, ...]] = ("side",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The Jaccard index from which two documents are near duplicates."""
    column: str = "text"
    """The text column."""
    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Words in a shingle."""
    numbers: Literal["keep", "zero"] = "keep"
    """`zero`: runs of digits read as 0."""

    @property
    def reads(self) -> Reads:
        return {
            "uid": pa.int64(),
            self.column: TEXT,
            "/rank.rank": pa.uint64(),
            "/near.near": pa.list_(pa.int64()),
            "/followed.followed": pa.bool_(),
        }

    @property
    def adds(self) -> Adds:
        return {"edges": pa.list_(pa.int64()), "similarity": pa.list_(pa.float32())}

    @property
    def emits(self) -> Adds:
        return {"side": pa.uint8(), "rank": pa.uint64(), "shingles": pa.large_list(pa.uint64())}

    @property
    def replies(self) -> Adds:
        return {"partner": pa.int64(), "rank": pa.uint64(), "similarity": pa.float64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, near = flat(batch.column("/near.near"))
        own = np.flatnonzero(batch.column("/followed.followed").to_numpy(zero_copy_only=False))
        row = np.concatenate([own, np.repeat(np.arange(batch.num_rows), lengths)])
        key = np.concatenate([np.asarray(batch.column("uid"))[own], near]).astype(np.uint64)
        side = (np.arange(len(row)) >= len(own)).astype(np.uint8)
        order = np.argsort(row, kind="stable")
        rank = np.asarray(batch.column("/rank.rank"))[row[order]]
        payload = {
            "side": pa.array(side[order]),
            "rank": pa.array(rank),
            "shingles": self._sets(batch.column(self.column), row[order]),
        }
        return Emission(row[order], key[order], payload)

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        partner = NOBODY
        for batch in messages:
            key, side, rank = (np.asarray(batch.column(name)) for name in ("key", "side", "rank"))
            sets = batch.column("shingles")
            offsets, hashes = np.asarray(sets.offsets), np.asarray(sets.values)
            similarity, ranks = jaccard_with(key, side, rank, offsets, hashes, partner)
            firsts = np.flatnonzero(side == 0)
            if len(firsts):
                i = firsts[-1]
                partner = (
                    key[i : i + 1].copy(),
                    rank[i : i + 1].copy(),
                    hashes[offsets[i] : offsets[i + 1]].copy(),
                )
            yield {
                "partner": pa.array(key.astype(np.int64)),
                "rank": pa.array(ranks),
                "similarity": pa.array(similarity),
            }

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, partner, rank, similarity = (
            np.asarray(replies.column(name)) for name in ("row", "partner", "rank", "similarity")
        )
        order = np.lexsort([partner, rank, row])
        order = order[similarity[order] >= self.threshold]
        lengths = np.bincount(row[order], minlength=batch.num_rows)
        return {
            "edges": listed(lengths, partner[order], pa.int64()),
            "similarity": listed(lengths, similarity[order].astype(np.float32), pa.float32()),
        }

    def _sets(self, texts: pa.Array, row: np.ndarray) -> pa.Array:
        """The shingle set of each message's row; each is computed once."""
        rows, place = np.unique(row, return_inverse=True)
        data, starts, ends = text_buffers(texts)
        offsets, hashes = shingle_lists(
            data, starts[rows], ends[rows], ngram=self.ngram, zero_numbers=self.numbers == "zero"
        )
        sets = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes))
        return sets.take(pa.array(place))
