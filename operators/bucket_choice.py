"""The bucket of a row, from the percentiles that it lies within."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from operators.contract import DROP, Adds, Columns, MapOp, Reads, Uses, drop_column

BUCKET = pa.dictionary(pa.int8(), pa.string())


class BucketChoice(MapOp):
    """Names each row's bucket and drops those that are not wanted; the face of `perplexity_buckets`."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    names: tuple[str, ...]
    """The buckets, the one of the smallest losses first."""
    keep: tuple[str, ...] | None = None
    """The buckets that stay; all when not given."""
    missing: Literal["keep", "drop"] = "keep"
    """What becomes of rows without a loss."""

    @property
    def reads(self) -> Reads:
        return {f"/cut{i}.within": pa.bool_() for i in range(len(self.names) - 1)}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "bucket": BUCKET}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        beyond = np.zeros(batch.num_rows, np.int8)
        for name in self.reads:
            within = batch.column(name)
            beyond += ~np.asarray(within.fill_null(True))
        known = np.asarray(batch.column("/cut0.within").is_valid())
        wanted = np.array([self.keep is None or name in self.keep for name in self.names])
        none = -1 if self.missing == "keep" else len(self.names)
        reasons = np.where(known, np.where(wanted[beyond], -1, beyond), none)
        codes = pa.array(beyond, mask=~known)
        return {
            "drop": drop_column(reasons, [*(f"{name}_bucket" for name in self.names), "no_loss"]),
            "bucket": pa.DictionaryArray.from_arrays(codes, pa.array(self.names, pa.string())),
        }
