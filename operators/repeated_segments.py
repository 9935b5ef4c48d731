"""The stretches of a text around its repeated grams, as hashes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses
from operators.kernels.lists import flat, listed
from operators.kernels.segments import Winnowing, segments
from operators.kernels.text_buffers import text_buffers


class RepeatedSegments(MapOp):
    """Hashes the segment of every repeated gram: all windows of `length` tokens that chose this gram.

    A part of `substring_dedup`: reads its part `grams`. For each segment: 128 bits of hash (`low`,
    `high`), its first window (`start`, in tokens), how many `windows` it has, how often it follows
    itself (`copies`, in periodic text), the `place` of its gram, and the hashes of its `cores`, of
    which every window contains one (`kernels/segments.py`).
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    where: ClassVar[str] = "/grams.some"

    length: Annotated[int, Field(ge=2)] = 50
    """Tokens from which a repeat counts."""
    case: Literal["keep", "fold"] = "keep"
    """`fold`: upper and lower case are equal."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "/grams.some": pa.bool_(), "/grams.repeated": pa.list_(pa.int32())}

    @property
    def adds(self) -> Adds:
        hashes = dict.fromkeys(("low", "high", "cores"), pa.list_(pa.uint64()))
        return hashes | dict.fromkeys(("start", "windows", "copies", "place"), pa.list_(pa.int32()))

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        lengths, numbers = flat(batch.column("/grams.repeated"))
        winnowing = Winnowing(self.length, self.case == "fold")
        found = segments(text_buffers(batch.column("text")), winnowing, lengths, numbers)
        names = ("low", "high", "start", "windows", "copies", "place")
        lists = {n: listed(found.lengths, getattr(found, n), self.adds[n].value_type) for n in names}
        return lists | {"cores": listed(found.core_lengths, found.cores, pa.uint64())}
