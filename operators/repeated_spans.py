"""The runs of windows of a text that occur before it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, MapOp, Reads, Uses
from operators.kernels.lists import flat, listed
from operators.kernels.repeats import FOUND, Asked, contested_windows, repeats


class RepeatedSpans(MapOp):
    """Joins the windows that occur wholly before into runs: in an earlier document, or at least `length`
    tokens earlier in the same one. A window that overlaps its own first occurrence is left.

    A part of `substring_dedup`: reads its parts `segments`, `first`, `contested` and `windows`. For each
    run: the first token of its first and of its last window (`begin`, `last`) and the `uid` of the
    earlier document; `some` says whether there are any.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    length: Annotated[int, Field(ge=2)] = 50
    """Tokens from which a repeat counts."""

    @property
    def reads(self) -> Reads:
        windows = {"/windows.uids": pa.list_(pa.int64()), "/windows.starts": pa.list_(pa.int32())}
        return {
            "uid": pa.int64(),
            **FOUND,
            "/segments.copies": pa.list_(pa.int32()),
            "/contested.contested": pa.list_(pa.int32()),
            **windows,
        }

    @property
    def adds(self) -> Adds:
        tokens = dict.fromkeys(("begin", "last"), pa.list_(pa.int32()))
        return {**tokens, "uids": pa.list_(pa.int64()), "some": pa.bool_()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        asked = Asked(
            *contested_windows(batch, self.length),
            flat(batch.column("/windows.uids"))[1],
            flat(batch.column("/windows.starts"))[1],
        )
        names = ("/segments.start", "/segments.windows", "/segments.copies", "/first.uids", "/first.starts")
        lengths = flat(batch.column("/segments.start"))[0]
        found = tuple(flat(batch.column(name))[1] for name in names)
        row, begin, last, uids = repeats(np.asarray(batch.column("uid")), lengths, found, asked, self.length)
        counts = np.bincount(row, minlength=batch.num_rows)
        return {
            "begin": listed(counts, begin, pa.int32()),
            "last": listed(counts, last, pa.int32()),
            "uids": listed(counts, uids, pa.int64()),
            "some": pa.array(counts > 0),
        }
