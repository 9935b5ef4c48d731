"""Group columns as small integers, with names that mean the same in every batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator

MAX_GROUPS = 4096
MAX_NAME_BYTES = 256

Names = npt.NDArray[np.bytes_]
Codes = npt.NDArray[np.int64]


def _as_written(value: Any) -> Any:
    """YAML's true and false name the groups of a boolean column; as an integer they would be 1 and 0."""
    return str(value).lower() if isinstance(value, bool) else value


GroupKey = Annotated[str | int, BeforeValidator(_as_written)]
"""How a config names a group."""


def group_name(value: str | int | None) -> bytes:
    """What stands for a group in artifacts: its bytes and a full stop (numpy strips trailing zero
    bytes), nothing at all for the null group."""
    return b"" if value is None else str(value).encode() + b"."


def show_name(name: bytes) -> str:
    """A group's name for people."""
    return repr(name[:-1].decode("utf-8", "replace")) if name else "null"


def group_codes(column: pa.Array | None, rows: int) -> tuple[Names, Codes]:
    """The names (G,) in ascending order and each row's place in them (rows,).

    Without a column all rows are one group; no rows have no group; nulls are a group of their own.
    ValueError when the column is neither strings nor integers, has more than 4,096 different values,
    or one longer than 256 bytes.
    """
    if rows == 0:
        return np.array([], "S1"), np.zeros(0, np.int64)
    if column is None:
        return np.array([b"."]), np.zeros(rows, np.int64)
    encoded = _as_binary(column).dictionary_encode(null_encoding="encode")
    check_groups(len(encoded.dictionary))
    found = [b"" if name is None else name + b"." for name in encoded.dictionary.to_pylist()]
    longest = max(found, key=len)
    if len(longest) > MAX_NAME_BYTES:
        raise ValueError(
            f"the group {show_name(longest[:60])}... is {len(longest) - 1} bytes long, at most "
            f"{MAX_NAME_BYTES - 1} are possible; group by a shorter column"
        )
    names, places = np.unique(np.array(found), return_inverse=True)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return names, places.reshape(-1)[codes].astype(np.int64)


def check_groups(number: int) -> None:
    """ValueError where there are more groups than a bounded summary holds."""
    if number > MAX_GROUPS:
        raise ValueError(
            f"more than {MAX_GROUPS:,} groups ({number:,} in one batch or summary); group by a coarser "
            f"column, such as a hash of this one into {MAX_GROUPS:,} buckets or a list of frequent values"
        )


def places_of(names: Names, known: Names) -> Codes:
    """Where each name stands in the ascending `known`, which has them all."""
    return np.searchsorted(known, names).astype(np.int64)


def spread(
    state: Mapping[str, np.ndarray], names: Names, neutral: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """A summary by group, whose arrays begin with an axis of the G groups in its `names`, for more of them:
    `names` has them all. Groups that it lacks get zeros, or what `neutral` gives under an array's name."""
    if np.array_equal(state["names"], names):
        return dict(state)
    places, out = places_of(state["names"], names), {"names": names}
    for key, values in state.items():
        if key != "names":
            out[key] = np.full((len(names), *values.shape[1:]), (neutral or {}).get(key, 0), values.dtype)
            out[key][places] = values
    return out


def together(a: Names, b: Names) -> Names:
    """The names of both, ascending; ValueError where they are too many."""
    names = a if np.array_equal(a, b) else np.union1d(a, b)
    check_groups(len(names))
    return names


def added(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The sums of two summaries by group, as in `spread`."""
    names = together(a["names"], b["names"])
    one, other = spread(a, names), spread(b, names)
    return {"names": names, **{key: one[key] + other[key] for key in a if key != "names"}}


def by_name(names: Names, given: Mapping[str | int, Any]) -> tuple[list[Any], list[bytes]]:
    """What a config gives each of the groups, by its name or by '*' for all that it does not name; None, and
    listed among the second, for one that gets nothing."""
    known = {group_name(name): value for name, value in given.items()}
    rest = known.get(group_name("*"))
    found = [known.get(name, rest) for name in names.tolist()]
    return found, [name for name, value in zip(names.tolist(), found, strict=True) if value is None]


def _as_binary(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        column = pc.cast(column, pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise ValueError(f"a group column holds strings or integers, this one {kind}; cast it first")
    return column.cast(pa.large_binary())
