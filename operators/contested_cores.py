"""The cores that different segments share, so that their windows have to be compared."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators.contract import Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.lists import flat
from operators.kernels.repeats import FOUND, first_cores
from operators.kernels.twice import at_most_two, shared_numbers


class ContestedCores(ReduceOp):
    """Counts, for every core, the different segments that have it. Only windows around a core of two or
    more can occur in another segment; equal segments need no further look.

    A part of `substring_dedup`: reads its parts `segments` and `first`. `contested` lists the numbers of
    the contested ones among the cores of those segments that are the first of their kind; `some` says
    whether there are any.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    length: Annotated[int, Field(ge=2)] = 50
    """Tokens from which a repeat counts."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), **FOUND, "/segments.cores": pa.list_(pa.uint64())}

    @property
    def adds(self) -> Adds:
        return {"contested": pa.list_(pa.int32()), "some": pa.bool_()}

    @property
    def emits(self) -> Adds:
        return {"many": pa.uint8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        cores = first_cores(batch, self.length)
        _, hashes = flat(batch.column("/segments.cores"))
        many = pa.array(np.ones(len(cores.row), np.uint8))
        return Emission(cores.row, hashes[cores.number], {"many": many})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"many": at_most_two(messages.column("many"), starts)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        contested = shared_numbers(replies, batch.num_rows)
        return {"contested": contested, "some": pc.greater(pc.list_value_length(contested), 0)}
