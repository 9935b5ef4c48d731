"""Earlier documents that share a band and whose signatures look near."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, Emission, Kind, Reads, ShuffleOp, Uses
from operators.kernels.buckets import FULL, LEADERS, RECENT, Bucket, search, slack, unite
from operators.kernels.lists import bounds, cells, fixed, flat, listed

_CHUNK = 131_072  # candidates that are built at once, at most


class NearCandidates(ShuffleOp):
    """Names, for every document, the earlier documents (in keep order) that may be near duplicates.

    A part of `minhash_dedup`: reads its parts `signature`, `rank` and `shared`. `near` lists uids,
    ascending; `bucketed` says that a document met others at all; `cut` that it may have more near ones
    than were named. In a bucket of up to `window` documents all pairs are compared. A larger one
    remembers, when its window is full, the first 256 leaders (documents that are near no leader before
    them: those that a greedy pass would keep) and the last 256 documents; so its cost grows linearly,
    and a pair can be missed there only if the earlier one is neither and no other band joins the two.
    The slack under the threshold is three standard deviations of the estimate,
    sqrt(t(1-t)/permutations).

    With `again` it is the second search, among the documents that are not surely gone: only in the
    buckets in which the part `asked` has found somebody whose first search was cut.
    """

    version: ClassVar[int] = 3
    order: ClassVar[tuple[str, ...]] = ("tier", "rank")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The Jaccard index from which two documents are near duplicates."""
    permutations: Annotated[int, Field(ge=4, le=1024)] = 128
    """Bytes in a signature."""
    most: Annotated[int, Field(ge=1)] = 32
    """Candidates a document at most: leaders first, then those with the highest estimate."""
    window: Annotated[int, Field(ge=LEADERS + RECENT)] = FULL
    """Documents of a bucket up to which all pairs are compared."""
    again: bool = False
    """Whether this is the second search."""

    @property
    def reads(self) -> Reads:
        return {
            "uid": pa.int64(),
            "/rank.tier": pa.uint16(),
            "/rank.rank": pa.uint64(),
            "/signature.bands": Kind.ANY,
            "/signature.signature": pa.binary(self.permutations),
            "/shared.shared": pa.list_(pa.int16()),
            **({"/asked.asked": pa.list_(pa.bool_())} if self.again else {}),
        }

    @property
    def adds(self) -> Adds:
        return {"near": pa.list_(pa.int64()), "bucketed": pa.bool_(), "cut": pa.bool_()}

    @property
    def emits(self) -> Adds:
        return {"tier": pa.uint16(), "rank": pa.uint64(), "signature": pa.binary(self.permutations)}

    @property
    def replies(self) -> Adds:
        return {"near": pa.list_(pa.int64()), "score": pa.list_(pa.int32()), "cut": pa.bool_()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        row, band = self._asking(batch)
        signatures = cells(batch.column("/signature.signature"), np.uint8)
        payload = {
            "tier": pa.array(np.asarray(batch.column("/rank.tier"))[row]),
            "rank": pa.array(np.asarray(batch.column("/rank.rank"))[row]),
            "signature": fixed(signatures[row]),
        }
        return Emission(row, cells(batch.column("/signature.bands"), np.uint64)[row, band], payload)

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        bucket, chunk = Bucket(self.permutations, self.window), max(1, _CHUNK // self.most)
        for batch in messages:
            parts = [self._near(batch.slice(i, chunk), bucket) for i in range(0, len(batch), chunk)]
            lengths, near, score, cut = (np.concatenate(part) for part in zip(*parts, strict=True))
            lists = {"near": listed(lengths, near, pa.int64()), "score": listed(lengths, score, pa.int32())}
            yield {**lists, "cut": pa.array(cut)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row = np.asarray(replies.column("row"))
        _, lengths = bounds(replies.column("near"))
        _, near = flat(replies.column("near"))
        _, score = flat(replies.column("score"))
        lengths, near, cut = unite(batch.num_rows, np.repeat(row, lengths), near, score, self.most)
        cut[row[replies.column("cut").to_numpy(zero_copy_only=False)]] = True
        bucketed = pa.array(np.bincount(row, minlength=batch.num_rows) > 0)
        return {"near": listed(lengths, near, pa.int64()), "bucketed": bucketed, "cut": pa.array(cut)}

    def _asking(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16]]:
        """(row, band) of each message."""
        lengths, band = flat(batch.column("/shared.shared"))
        row = np.repeat(np.arange(batch.num_rows), lengths)
        if not self.again:
            return row, band
        asked, wanted = flat(batch.column("/asked.asked"))  # nothing for who is gone
        there = np.repeat(asked > 0, lengths)
        return row[there][wanted], band[there][wanted]

    def _near(self, batch: pa.RecordBatch, bucket: Bucket) -> Any:
        key, uid = (np.asarray(batch.column(name)) for name in ("key", "uid"))
        how = {"threshold": self.threshold, "slack": slack(self.threshold, self.permutations)}
        return search(key, uid, cells(batch.column("signature"), np.uint8), bucket, most=self.most, **how)
