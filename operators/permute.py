"""A placebo: the same values, dealt to other rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators.contract import Adds, Columns, Emission, Kind, Reads, ShuffleOp, Uses
from operators.kernels.counter import mix64, random_bits

_STREAM = 0x7065726D757465  # keeps apart from other operators that share a seed


class Permute(ShuffleOp):
    """Adds `value`: the column's values, each dealt to another row, as a control for what a score does.

    Rows are dealt into groups at random; in each they stand in random order, and every row gets the
    value of the one before it, the first that of the last. So the values as a whole are exactly the
    same (nulls too), and no row keeps its own but one that is alone in its group.

    A row sends two messages: all first ones of a group come before all second ones, and each second
    one is answered with the value that came just before it, so the state is one value.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"column": "score", "seed": 1},
        {"column": "words", "groups": 1, "seed": 1},
    )
    order: ClassVar[tuple[str, ...]] = ("turn", "draw")

    column: str
    """The numeric column whose values are dealt."""

    groups: int = Field(64, ge=1)
    """Into how many groups: as many tasks can work at once, and small groups hold rows that are alone."""

    seed: int | None = None
    """Seed of the dealing; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        return {self.column: Kind.NUMBER, "key": pa.uint64()}

    @property
    def adds(self) -> Adds:
        return {"value": pa.float64()}

    @property
    def emits(self) -> Adds:
        return {"turn": pa.uint8(), "draw": pa.uint64(), "value": pa.float64()}

    @property
    def replies(self) -> Adds:
        return {"value": pa.float64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        n = batch.num_rows
        row = np.repeat(np.arange(n), 2)
        key = batch.column("key").to_numpy(zero_copy_only=False)
        draw = random_bits((self.seed or 0) ^ _STREAM, key)
        value = pc.cast(batch.column(self.column), pa.float64(), safe=False)
        payload = {
            "turn": pa.array(np.tile(np.array([0, 1], np.uint8), n)),
            "draw": pa.array(draw[row], pa.uint64()),
            "value": value.take(pa.array(row)),
        }
        # Another mix, so that the group says nothing about the place in it; and once more, to spread
        # the groups over all keys.
        group = mix64(draw) % np.uint64(self.groups)
        return Emission(row=row, key=mix64(group)[row], payload=payload)

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        before = pa.nulls(1, pa.float64())
        for batch in messages:
            values = pa.concat_arrays([before, batch.column("value")])
            before = values.slice(len(values) - 1)
            yield {"value": values.slice(0, batch.num_rows)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        second = np.arange(1, replies.num_rows, 2)
        return {"value": replies.column("value").take(pa.array(second))}
