"""Exact duplicates: of the documents with equal text, one stays."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators.contract import DROP, TEXT, Adds, Columns, Emission, Kind, Reads, ReduceOp, Uses, drop_column
from operators.kernels.hash128 import hash_texts
from operators.kernels.keep_order import Keep, Prefer, first_in_order, keep_rank, keep_reads, keep_tier
from operators.kernels.text_buffers import text_buffers

_NULL = np.uint64(0x6E756C6C6E756C6C)  # what a null is hashed as, apart from every text


class ExactDedup(ReduceOp):
    """Drops every document whose text (or whose URL, hash, number...) equals that of a preferred one.

    Values are compared by a 128-bit MurmurHash3 (that any two unequal texts among 10 billion collide
    has a probability of 1.5e-19). `drop` is "exact_duplicate", `kept` the uid of the copy that
    stays (null where the document itself stays), `copies` the number of documents with this text.
    Short texts are compared like long ones. A null never equals an empty text.
    """

    guard: ClassVar[float | None] = 0.95
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"normalise": "text", "keep": "longest"},
        {"compare": ("text", "domain"), "keep": "score:max", "empty": "merge"},
        {"compare": ("label", "words"), "prefer": {"domain": ("wiki", "код")}},
    )

    compare: Annotated[tuple[str, ...], Field(min_length=1)] = ("text",)
    """Columns that must all be equal: strings, bytes, numbers, booleans, dates and times."""
    normalise: Literal["none", "text"] = "none"
    """`text`: compare lower-cased text with its white space squeezed; else compare byte for byte."""
    keep: Keep = "first"
    """Which copy stays: `first`, `longest` (most bytes of the first compared column), `column:max`
    or `column:min` of a number, a date or an ISO 8601 string, as in `date:min` for the oldest (nulls
    and NaN last); ties go to the first."""
    prefer: Prefer = Field(default={})
    """Decides before `keep`: a string column -> its values, the best first, as in `{domain: [wiki,
    books]}`; all other values come last. With several columns the first decides, then the next."""
    empty: Literal["keep", "merge"] = "keep"
    """Documents in which all compared columns are null or empty: left alone, or compared like others."""

    @property
    def reads(self) -> Reads:
        compared = dict.fromkeys(self.compare, Kind.ANY)
        return {"uid": pa.int64(), **compared, **keep_reads(self.keep, self.prefer, self.compare[0])}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "kept": pa.int64(), "copies": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"tier": pa.uint16(), "rank": pa.uint64(), "first": pa.int64(), "copies": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        low, high, empty = self._hashes(batch)
        rows = np.flatnonzero(~empty) if self.empty == "keep" else np.arange(batch.num_rows)
        payload = {
            "tier": pa.array(keep_tier(self.prefer, batch)[rows]),
            "rank": pa.array(keep_rank(self.keep, self.compare[0], batch)[rows]),
            "first": batch.column("uid").take(pa.array(rows)),
            "copies": pa.array(np.ones(len(rows), np.int64)),
        }
        return Emission(rows, low[rows], payload, high[rows])

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        order = [np.asarray(messages.column(name)) for name in ("tier", "rank", "first")]
        tier, rank, first = (pa.array(best) for best in first_in_order(order[0], order[1], order[2], starts))
        copies = np.add.reduceat(np.asarray(messages.column("copies")), starts)
        return {"tier": tier, "rank": rank, "first": first, "copies": pa.array(copies)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        uid, row = np.asarray(batch.column("uid")), np.asarray(replies.column("row"))
        first, copies = uid.copy(), np.ones(len(uid), np.int64)
        first[row], copies[row] = np.asarray(replies.column("first")), np.asarray(replies.column("copies"))
        stays = first == uid
        return {
            "drop": drop_column(np.where(stays, -1, 0), ["exact_duplicate"]),
            "kept": pa.array(first, mask=stays),
            "copies": pa.array(copies),
        }

    def _hashes(
        self, batch: pa.RecordBatch
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
        """Two halves of 128 bits over the compared columns, and whether all of them are empty."""
        digests = np.zeros((batch.num_rows, len(self.compare), 2), np.uint64)
        empty = np.ones(batch.num_rows, bool)
        for i, name in enumerate(self.compare):
            column = batch.column(name)
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            hashes = hash_texts(*text_buffers(_as_text(name, column)), is_text and self.normalise == "text")
            digests[:, i] = hashes[:, :2]
            digests[column.is_null().to_numpy(zero_copy_only=False), i] = _NULL
            empty &= hashes[:, 2] == 0
        if len(self.compare) == 1:
            return digests[:, 0, 0], digests[:, 0, 1], empty
        width = 16 * len(self.compare)
        ends = width * np.arange(1, batch.num_rows + 1)
        both = hash_texts(digests.view(np.uint8).reshape(-1), ends - width, ends, False)
        return both[:, 0], both[:, 1], empty


def _as_text(name: str, column: pa.Array) -> pa.Array:
    """The values as large_string: equal values of one type have equal texts. ValueError for lists."""
    kind = column.type
    if pa.types.is_nested(kind):
        raise ValueError(f"{name} is {kind}: compare columns of strings, bytes, numbers, booleans or dates")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        bytes_ = column.cast(pa.large_binary())
        return pa.Array.from_buffers(TEXT, len(bytes_), bytes_.buffers(), bytes_.null_count, bytes_.offset)
    return (pc.add(column, 0.0) if pa.types.is_floating(kind) else column).cast(TEXT)  # -0.0 becomes 0.0
