"""The order in which documents are preferred: ascending (rank uint64, uid int64)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import TEXT, Kind, Reads
from operators.kernels.text_buffers import text_buffers

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

KEEP_PATTERN = r"^(first|longest|.+:(max|min))$"
_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)


def keep_reads(keep: str, text: str) -> Reads:
    """The columns beside `uid` that the rule needs; `text` is the column whose length counts."""
    if keep == "first":
        return {}
    return {text: TEXT} if keep == "longest" else {keep.rpartition(":")[0]: Kind.NUMBER}


def keep_rank(keep: str, text: str, batch: pa.RecordBatch) -> UInt64s:
    """(n,) uint64: lower is kept first; nulls and NaN come last.

    keep: `first` (all equal, so that the uid decides), `longest` (most bytes of `text`),
    `column:max` or `column:min`.
    """
    if keep == "first":
        return np.zeros(batch.num_rows, np.uint64)
    if keep == "longest":
        _, starts, ends = text_buffers(batch.column(text))
        return ~(ends - starts).astype(np.uint64)
    name, _, way = keep.rpartition(":")
    values = batch.column(name)
    ordered = _ascending(values)
    rank = np.minimum(~ordered if way == "max" else ordered, _LAST - np.uint64(1))
    return np.where(_missing(values), _LAST, rank)


def _missing(values: pa.Array) -> npt.NDArray[np.bool_]:
    missing = values.is_null(nan_is_null=True) if pa.types.is_floating(values.type) else values.is_null()
    return missing.to_numpy(zero_copy_only=False)


def _ascending(values: pa.Array) -> UInt64s:
    """uint64 in the order of the numbers: flip the sign bit, and all bits of a negative float."""
    sign = np.uint64(1 << 63)
    if pa.types.is_unsigned_integer(values.type):
        return np.asarray(values.fill_null(0)).astype(np.uint64)
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return np.asarray(values.cast(pa.int64()).fill_null(0)).view(np.uint64) ^ sign
    numbers = np.asarray(values.cast(pa.float64()).fill_null(0.0)) + 0.0  # -0.0 becomes 0.0
    bits = numbers.view(np.uint64)
    return np.where(bits & sign != 0, ~bits, bits ^ sign)


def first_of_each(rank: UInt64s, uid: Int64s, starts: Int64s) -> tuple[UInt64s, Int64s]:
    """The first (rank, uid) in keep order of every run [starts[i]:starts[i+1]]; no run is empty."""
    best = np.minimum.reduceat(rank, starts)
    lengths = np.diff(np.append(starts, len(rank)))
    candidates = np.where(rank == np.repeat(best, lengths), uid, np.iinfo(np.int64).max)
    return best, np.minimum.reduceat(candidates, starts)
