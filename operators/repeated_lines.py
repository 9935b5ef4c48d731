"""Which lines of a document another line of the corpus equals."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import TEXT, Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.lines import MOST_UNITS, Ignored, Least, Lines, Unit, hash_units
from operators.kernels.lists import listed
from operators.kernels.text_buffers import text_buffers

_PLACE_BITS = MOST_UNITS.bit_length() - 1
_MOST_DOCUMENTS = 1 << (64 - _PLACE_BITS)


class RepeatedLines(ReduceOp):
    """Sends the hash of every line with its place in the corpus, and learns the first (and for `drop_all`
    the last) place of an equal one; 16 bytes a line (24).

    A part of `line_dedup`. `lines` lists the places of the lines that go among the compared ones of the
    document, ascending; `any` says that there is one. Lines after a document's first 16,777,216 stay.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"policy": "drop_all", "unit": "paragraph"})

    unit: Unit = "line"
    """What is compared: `line` or `paragraph`."""
    policy: Literal["keep_first", "drop_all"] = "keep_first"
    """Whether the first document that has a line keeps it."""
    within: Literal["first", "keep"] = "first"
    """Copies in one and the same document: only the first may stay, or all."""
    ignore: Ignored = ("case", "numbers", "punctuation", "accents")
    """Differences that do not count."""
    min_line: Least = 1
    """Characters of a compared line's form."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), "text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"lines": pa.list_(pa.int32()), "any": pa.bool_()}

    @property
    def emits(self) -> Adds:
        last = {"last": pa.uint64()} if self.policy == "drop_all" else {}
        return {"first": pa.uint64(), **last}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lines = Lines.of(self.unit, self.ignore, self.min_line)
        row, key = hash_units(*text_buffers(batch.column("text")), lines)
        place = pa.array(_places(np.asarray(batch.column("uid")), row))
        return Emission(row, key, dict.fromkeys(self.emits, place))

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        pick = {"first": np.minimum, "last": np.maximum}
        return {
            name: pa.array(pick[name].reduceat(np.asarray(messages.column(name)), starts))
            for name in self.emits
        }

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, first = np.asarray(replies.column("row")), np.asarray(replies.column("first"))
        own = _places(np.asarray(batch.column("uid")), row)
        document = np.uint64(_PLACE_BITS)
        goes = first >> document != own >> document
        if self.policy == "drop_all":
            last = np.asarray(replies.column("last"))
            goes = first >> document != last >> document
        if self.within == "first":
            goes |= first != own
        place = (own[goes] & np.uint64(MOST_UNITS - 1)).astype(np.int32)
        counts = np.bincount(row[goes], minlength=batch.num_rows)
        return {"lines": listed(counts, place, pa.int32()), "any": pa.array(counts > 0)}


def _places(uid: npt.NDArray[np.int64], row: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """(n,) uid of the document and, in the low bits, the place of the line in it, for lines row by row."""
    if len(uid) and int(uid.max()) >= _MOST_DOCUMENTS:
        raise ValueError(f"uid {uid.max()} is above {_MOST_DOCUMENTS - 1}, the last one that lines can have")
    counts = np.bincount(row, minlength=len(uid))
    inside = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return uid[row].astype(np.uint64) << np.uint64(_PLACE_BITS) | inside.astype(np.uint64)
