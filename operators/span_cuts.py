"""Cuts the repeated spans out of a text."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import CUTS, DROP, TEXT, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.lists import flat
from operators.kernels.repeats import excise
from operators.kernels.segments import Winnowing
from operators.kernels.text_buffers import text_buffers

_COPY = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("uid", pa.int64())])


class SpanCuts(MapOp):
    """Turns runs of windows into cuts at token boundaries; the face of `substring_dedup`, which says
    what the columns mean. Reads its part `spans`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    where: ClassVar[str] = "/spans.some"

    length: Annotated[int, Field(ge=2)] = 50
    """Tokens from which a repeat counts."""
    case: Literal["keep", "fold"] = "keep"
    """`fold`: upper and lower case are equal."""
    min_tokens: Annotated[int, Field(ge=0)] = 1
    """A document that keeps fewer tokens goes."""

    @property
    def reads(self) -> Reads:
        tokens = dict.fromkeys(("/spans.begin", "/spans.last"), pa.list_(pa.int32()))
        return {"text": TEXT, **tokens, "/spans.uids": pa.list_(pa.int64()), "/spans.some": pa.bool_()}

    @property
    def adds(self) -> Adds:
        sizes = {"bytes_cut": pa.int64(), "spans_cut": pa.int32()}
        return {"drop": DROP, "cuts": CUTS, "copies": pa.list_(_COPY), **sizes}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        winnowing = Winnowing(self.length, self.case == "fold")
        lengths, begin = flat(batch.column("/spans.begin"))
        last, uid = (flat(batch.column(name))[1] for name in ("/spans.last", "/spans.uids"))
        lost = excise(text_buffers(batch.column("text")), winnowing, lengths, begin, last)
        space = pa.array(np.where(lost.joined, " ", ""))
        cuts = _structs(CUTS, lost.lengths, [lost.start, lost.end, space])
        copies = _structs(pa.list_(_COPY), lengths, [lost.run_start, lost.run_end, uid])
        row = np.repeat(np.arange(batch.num_rows), lost.lengths)
        sizes = np.zeros(batch.num_rows, np.int64)
        np.add.at(sizes, row, lost.end - lost.start - lost.joined)
        short = (lost.left >= 0) & (lost.left < self.min_tokens)
        return {
            "drop": drop_column(np.where(short, 0, -1), ["too_short_after_substring_dedup"]),
            "cuts": cuts,
            "copies": copies,
            "bytes_cut": pa.array(sizes, mask=lost.lengths == 0),
            "spans_cut": pa.array(lost.lengths.astype(np.int32), mask=lost.lengths == 0),
        }


def _structs(kind: pa.DataType, lengths: np.ndarray, columns: list[Any]) -> pa.Array:
    """A list of structs from flat columns; a row without any has null."""
    fields = [kind.value_type.field(i) for i in range(kind.value_type.num_fields)]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    values = pa.StructArray.from_arrays(arrays, fields=fields)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    starts = pa.array(offsets, pa.int32(), mask=np.append(lengths == 0, False))
    return pa.ListArray.from_arrays(starts, values, type=kind)
