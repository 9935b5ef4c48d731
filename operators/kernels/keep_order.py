"""The order in which documents are preferred: ascending (tier uint16, rank uint64, uid int64)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from operators.contract import TEXT, Kind, Reads
from operators.kernels.text_buffers import text_buffers

UInt64s = npt.NDArray[np.uint64]
UInt16s = npt.NDArray[np.uint16]
Int64s = npt.NDArray[np.int64]

_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
_NOBODY = np.iinfo(np.int64).max
_TIERS = 1 << 16


def _within_tiers(prefer: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """`prefer` again; ValueError where a list is empty, repeats a value, or they are too many."""
    tiers = 1
    for name, values in prefer.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name}: [{', '.join(values)}] must name at least one value, each once")
        tiers *= len(values) + 1
    if tiers > _TIERS:
        raise ValueError(f"the lists make {tiers} tiers, at most {_TIERS} are possible: leave out values")
    return prefer


Keep = Annotated[str, Field(pattern=r"^(first|longest|.+:(max|min))$")]
Prefer = Annotated[dict[str, tuple[str, ...]], AfterValidator(_within_tiers)]


def keep_reads(keep: str, prefer: Mapping[str, Sequence[str]], text: str) -> Reads:
    """The columns beside `uid` that the rule needs; `text` is the column whose length counts."""
    names: dict[str, Kind | pa.DataType] = dict.fromkeys(prefer, Kind.STRING)
    if keep == "first":
        return names
    ranked = {text: TEXT} if keep == "longest" else {keep.rpartition(":")[0]: Kind.ORDERED}
    return {**names, **ranked}


def keep_tier(prefer: Mapping[str, Sequence[str]], batch: pa.RecordBatch) -> UInt16s:
    """(n,) uint16: lower is kept first. prefer: column -> its values, the best first; any other value
    and null come last. Of several columns the first decides, then the next."""
    tier = np.zeros(batch.num_rows, np.int64)
    for name, values in prefer.items():
        place = pc.index_in(batch.column(name), pa.array(values, batch.column(name).type))
        tier = tier * (len(values) + 1) + np.asarray(place.fill_null(len(values)))
    return tier.astype(np.uint16)


def keep_rank(keep: str, text: str, batch: pa.RecordBatch) -> UInt64s:
    """(n,) uint64: lower is kept first; nulls and NaN come last.

    keep: `first` (all equal, so that the uid decides), `longest` (most bytes of `text`), `column:max`
    or `column:min` of numbers, dates, times or strings with ISO 8601 dates. ValueError for others.
    """
    if keep == "first":
        return np.zeros(batch.num_rows, np.uint64)
    if keep == "longest":
        _, starts, ends = text_buffers(batch.column(text))
        return ~(ends - starts).astype(np.uint64)
    name, _, way = keep.rpartition(":")
    values = _numbers(name, batch.column(name))
    ordered = _ascending(values)
    rank = np.minimum(~ordered if way == "max" else ordered, _LAST - np.uint64(1))
    return np.where(_missing(values), _LAST, rank)


def _numbers(name: str, values: pa.Array) -> pa.Array:
    """Numbers in the order of the values: themselves, or what dates and times count in."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _moments(name, values)
    if pa.types.is_temporal(kind):
        return values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(pa.int64())
    return values


def _moments(name: str, values: pa.Array) -> pa.Array:
    """Microseconds since 1970 of ISO 8601 dates, with or without a time and a zone; '' is null."""
    texts = pc.if_else(pc.equal(pc.binary_length(values), 0), None, values)
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return texts.cast(kind).cast(pa.int64())
        except pa.ArrowInvalid as error:
            why = error
    raise ValueError(
        f"{name} holds strings that are no dates like 2026-01-31 or 2026-01-31T12:00:00Z, all with a zone "
        f"or all without one ({why}): keep by another column, or store dates"
    )


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
    """The first (rank, uid) of every run [starts[i]:starts[i+1]]; no run is empty."""
    best = np.minimum.reduceat(rank, starts)
    lengths = np.diff(np.append(starts, len(rank)))
    candidates = np.where(rank == np.repeat(best, lengths), uid, _NOBODY)
    return best, np.minimum.reduceat(candidates, starts)


def first_in_order(
    tier: UInt16s, rank: UInt64s, uid: Int64s, starts: Int64s
) -> tuple[UInt16s, UInt64s, Int64s]:
    """The first (tier, rank, uid) in keep order of every run [starts[i]:starts[i+1]]; no run is empty."""
    best = np.minimum.reduceat(tier, starts)
    among = tier == np.repeat(best, np.diff(np.append(starts, len(tier))))
    return best, *first_of_each(np.where(among, rank, _LAST), np.where(among, uid, _NOBODY), starts)
