"""Ids as text and as hashes, and their places in a table of labelled ids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import TEXT, Artifact
from operators.kernels.hash128 import UInt64s, hash_text

Int64s = npt.NDArray[np.int64]

SHOWN_BYTES = 80  # of an id, kept for messages


def as_text(column: pa.Array, what: str) -> pa.Array:
    """Strings, integers or booleans as large_string; ValueError for other types."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    plain = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    if not plain and not pa.types.is_integer(kind) and not pa.types.is_boolean(kind):
        raise ValueError(f"{what} holds {kind}; cast it to strings or integers first")
    return pc.cast(column, TEXT)


def id_hashes(ids: pa.Array) -> tuple[UInt64s, UInt64s]:
    """(low, high) (n,) of large_string ids."""
    return hash_text(ids)


def show_id(shown: bytes) -> str:
    """An id for people: what the table kept of it."""
    return repr(shown[:-1].decode("utf-8", "replace"))


def no_pairs() -> dict[str, np.ndarray]:
    """A table without an id."""
    empty = {name: np.zeros(0, np.int64) for name in ("code", "row")}
    hashes = {name: np.zeros(0, np.uint64) for name in ("low", "high")}
    return {**hashes, **empty, "shown": np.zeros(0, "S1"), "names": np.zeros(0, "S1")}


def places(table: Artifact, ids: pa.Array) -> Int64s:
    """(n,) the place of each id in the table, -1 where it is not there or null."""
    place = np.full(len(ids), -1, np.int64)
    if not len(table["low"]) or not len(ids):
        return place
    low, high = id_hashes(ids)
    left, right = (np.searchsorted(table["low"], low, side) for side in ("left", "right"))
    for step in range(int((right - left).max(initial=0))):  # more than one only where half a hash collides
        at = np.minimum(left + step, len(table["low"]) - 1)
        hit = (left + step < right) & (table["high"][at] == high)
        place[hit] = at[hit]
    place[np.asarray(ids.is_null().to_numpy(zero_copy_only=False), bool)] = -1
    return place
