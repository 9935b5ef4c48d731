"""The chosen grams of a text that occur somewhere else too."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, Emission, Reads, ReduceOp, Uses
from operators.kernels.segments import Winnowing, chosen_grams
from operators.kernels.text_buffers import text_buffers
from operators.kernels.twice import at_most_two, shared_numbers


class RepeatedGrams(ReduceOp):
    """Winnows every text (Schleimer, Wilkerson & Aiken 2003): two texts with `length` tokens in common
    send at least one gram in common. A gram that is sent once is in no repeat.

    A part of `substring_dedup`. `repeated` lists the numbers of the text's chosen grams that were sent
    twice or more (equal ones in a row count as one), `some` says whether there are any.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    length: Annotated[int, Field(ge=2)] = 50
    """Tokens from which a repeat counts."""
    case: Literal["keep", "fold"] = "keep"
    """`fold`: upper and lower case are equal."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"repeated": pa.list_(pa.int32()), "some": pa.bool_()}

    @property
    def emits(self) -> Adds:
        return {"many": pa.uint8()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        winnowing = Winnowing(self.length, self.case == "fold")
        row, gram, many = chosen_grams(text_buffers(batch.column("text")), winnowing)
        return Emission(row, gram, {"many": pa.array(many)})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"many": at_most_two(messages.column("many"), starts)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        repeated = shared_numbers(replies, batch.num_rows)
        return {"repeated": repeated, "some": pc.greater(pc.list_value_length(repeated), 0)}
