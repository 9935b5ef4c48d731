"""The place of each row in the sort of the whole corpus by a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Kind, Reads, ShuffleOp, Uses
from operators.kernels.ordering import float32_order, float64_order
from operators.quantiles import number_column

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


class ValueRank(ShuffleOp):
    """Adds `rank`, the rows before this one by (value, uid), and `below`, those with a smaller value; null
    where the value is null or NaN.

    Uses the artifact `quantiles` of the column: the key of a message is the number of rows in all lower bins,
    which is the rank of its bin's first row. The rows of a bin come sorted, so they need only be counted.
    """

    # It needs the artifact of `quantiles`: the laws run it as a part of `percentile`.
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    order: ClassVar[tuple[str, ...]] = ("value",)

    column: str
    """The numeric column."""

    @property
    def reads(self) -> Reads:
        return {self.column: Kind.NUMBER, "uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"rank": pa.int64(), "below": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"value": pa.uint64()}

    @property
    def replies(self) -> Adds:
        return self.adds

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        counts = uses["quantiles"]["counts"]
        before = (np.cumsum(counts) - counts).astype(np.uint64)
        values = number_column(batch.column(self.column))
        row = np.flatnonzero(~np.isnan(values))
        known = values[row]
        return Emission(row, before[float32_order(known) >> 16], {"value": pa.array(float64_order(known))})

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        # Of the message before: its key and value, its rank within the bin, and that of its first equal.
        last, place, first = (np.uint64(0), np.uint64(0)), -1, 0
        for batch in messages:
            key, value = (np.asarray(batch.column(name)) for name in ("key", "value"))
            places, firsts = _counted(key, value, last, place, first)
            base = key.astype(np.int64)
            yield {"rank": pa.array(base + places), "below": pa.array(base + firsts)}
            if len(key):
                last, place, first = (key[-1], value[-1]), int(places[-1]), int(firsts[-1])

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, known = np.asarray(replies.column("row")), np.zeros(batch.num_rows, bool)
        known[row] = True
        found = {}
        for name in self.adds:
            values = np.zeros(batch.num_rows, np.int64)
            values[row] = np.asarray(replies.column(name))
            found[name] = pa.array(values, pa.int64(), mask=~known)
        return found


def _counted(
    key: UInt64s, value: UInt64s, last: tuple[np.uint64, np.uint64], place: int, first: int
) -> tuple[Int64s, Int64s]:
    """(n,) the place of each message among those of its key, and (n,) that of the first one of its value.

    last, place, first: the same of the message before; place -1 where there was none."""
    here = np.arange(len(key))
    new_key = np.append([place < 0 or key[0] != last[0]], key[1:] != key[:-1]) if len(key) else here > 0
    new_value = new_key.copy()
    new_value[1:] |= value[1:] != value[:-1]
    new_value[:1] |= value[:1] != last[1]
    begin = np.maximum.accumulate(np.where(new_key, here, -place - 1))
    places = here - begin
    at = np.maximum.accumulate(np.where(new_value, here, -1))
    return places, np.where(at < 0, first, places[at])
