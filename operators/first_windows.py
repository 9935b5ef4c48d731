"""Where a window occurs first, for windows that different segments may share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.lists import listed
from operators.kernels.repeats import FOUND, contested_windows
from operators.kernels.segments import Winnowing, window_hashes
from operators.kernels.text_buffers import text_buffers
from operators.kernels.twice import earliest


class FirstWindows(ReduceOp):
    """Finds the first occurrence of every window of `length` tokens around a contested core.

    A part of `substring_dedup`: reads its parts `segments`, `first` and `contested`. `uids` and `starts`
    list for each such window the document of its first occurrence and its first token there.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    where: ClassVar[str] = "/contested.some"

    length: Annotated[int, Field(ge=2)] = 50
    """Tokens from which a repeat counts."""
    case: Literal["keep", "fold"] = "keep"
    """`fold`: upper and lower case are equal."""

    @property
    def reads(self) -> Reads:
        contested = {"/contested.some": pa.bool_(), "/contested.contested": pa.list_(pa.int32())}
        return {"uid": pa.int64(), "text": TEXT, **FOUND, **contested}

    @property
    def adds(self) -> Adds:
        return {"uids": pa.list_(pa.int64()), "starts": pa.list_(pa.int32())}

    @property
    def emits(self) -> Adds:
        return {"first": pa.int64(), "start": pa.int32()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        winnowing = Winnowing(self.length, self.case == "fold")
        lengths, begin, end = contested_windows(batch, self.length)
        texts = text_buffers(batch.column("text"))
        row, low, high, window = window_hashes(texts, winnowing, lengths, begin, end)
        first = np.asarray(batch.column("uid"))[row]
        return Emission(row, low, {"first": pa.array(first), "start": pa.array(window)}, high)

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return earliest(messages, starts)

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        lengths = np.bincount(np.asarray(replies.column("row")), minlength=batch.num_rows)
        first, start = (np.asarray(replies.column(name)) for name in ("first", "start"))
        return {"uids": listed(lengths, first, pa.int64()), "starts": listed(lengths, start, pa.int32())}
