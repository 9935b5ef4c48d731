"""The distribution of a numeric column, exact for any cut of the data."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.kernels.ordering import float32_order, float64_order, order_float32

BINS = 1 << 16
_LOW_BITS = BINS - 1
_TOP = np.iinfo(np.uint64).max

Floats = npt.NDArray[np.float64]


class Quantiles(FoldOp):
    """Counts a column's values in 65,536 bins, so that any value's percentile can be told.

    A bin is the top 16 bits of the order-preserving float32 (sign, exponent, 7 bits of mantissa): two
    values in one differ by less than 1 %. Within a bin, values are taken as spread between its
    smallest and largest one. Nulls and NaN count for nothing.

    Artifact: `counts` (65536,) int64 values a bin; `low`, `high` (65536,) uint32, the least and the
    greatest low 16 bits in the bin; `least`, `most` (1,) uint64, the ends as order-preserving float64.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"column": "score"}, {"column": "words"})

    column: str
    """The numeric column."""

    @property
    def reads(self) -> Reads:
        return {self.column: Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return BINS * 16 + 16

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        values = number_column(batch.column(self.column))
        values = values[~np.isnan(values)]
        order = float32_order(values)
        low, high = np.full(BINS, _LOW_BITS, np.uint32), np.zeros(BINS, np.uint32)
        np.minimum.at(low, order >> 16, order & _LOW_BITS)
        np.maximum.at(high, order >> 16, order & _LOW_BITS)
        exact = float64_order(values)
        return {
            "counts": np.bincount(order >> 16, minlength=BINS),
            "low": low,
            "high": high,
            "least": np.array([exact.min(initial=_TOP)], np.uint64),
            "most": np.array([exact.max(initial=0)], np.uint64),
        }

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {
            "counts": a["counts"] + b["counts"],
            "low": np.minimum(a["low"], b["low"]),
            "high": np.maximum(a["high"], b["high"]),
            "least": np.minimum(a["least"], b["least"]),
            "most": np.maximum(a["most"], b["most"]),
        }

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}


def number_column(column: pa.Array) -> Floats:
    """(n,) float64, NaN for nulls."""
    floats = pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan"))
    return floats.to_numpy(zero_copy_only=False)


def percentiles(state: Artifact, values: Floats, place: Floats) -> Floats:
    """(n,) the share of the counted values that lie below each value, in [0, 1]; NaN for NaN.

    place: (n,) in (0, 1), where a value stands among those that cannot be told from it; random numbers
    make the percentiles of tied values uniform, 0.5 gives their middle.
    """
    counts, known = state["counts"], ~np.isnan(values)
    total = max(int(counts.sum()), 1)
    order = float32_order(np.where(known, values, 0.0))
    bins = order >> 16
    low, high = (state[name][bins].astype(np.float64) for name in ("low", "high"))
    within = ((order & _LOW_BITS) - low + place) / np.maximum(high - low + 1, 1)
    before = np.cumsum(counts)[bins] - counts[bins]
    share = (before + counts[bins] * np.clip(within, 0.0, 1.0)) / total
    return np.where(known, share, np.nan)


def distribution(state: Artifact) -> tuple[Floats, Floats]:
    """(m,) the finite values, ascending, and the share of the counted values up to each one.

    Straight in between; two shares at one value are its ties. Values are rounded to float32."""
    counts = state["counts"]
    upto = np.cumsum(counts) / max(int(counts.sum()), 1)
    used = np.flatnonzero(counts)
    ends = np.stack([state["low"][used], state["high"][used]], axis=1).astype(np.uint32)
    values = order_float32((used.astype(np.uint32)[:, None] << np.uint32(16)) | ends).astype(np.float64)
    shares = np.stack([np.where(used > 0, upto[used - 1], 0.0), upto[used]], axis=1)
    finite = np.isfinite(values).all(axis=1)
    return values[finite].ravel(), shares[finite].ravel()
