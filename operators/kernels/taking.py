"""Lists of 64-bit numbers taken by place: many times as fast as Arrow's own `take` of long lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.jit import kernel

Int64s = npt.NDArray[np.int64]

LISTS = pa.large_list(pa.uint64())


@kernel
def _take(offsets: Any, values: Any, place: Any, limits: Any, out: Any) -> None:
    for i in range(len(place)):
        begin, at = offsets[place[i]], limits[i]
        for k in range(limits[i + 1] - at):
            out[at + k] = values[begin + k]


def take_lists(offsets: Int64s, values: npt.NDArray[np.uint64], place: Int64s) -> pa.LargeListArray:
    """The lists values[offsets[i]:offsets[i + 1]] for each i of `place`, in its order."""
    limits = np.zeros(len(place) + 1, np.int64)
    np.cumsum(np.diff(offsets)[place], out=limits[1:])
    out = np.empty(limits[-1], np.uint64)
    _take(offsets, values, place, limits, out)
    return pa.LargeListArray.from_arrays(pa.array(limits), pa.array(out))


def take(column: pa.Array, place: Int64s) -> pa.Array:
    """`column.take(place)`."""
    if column.type != LISTS or column.null_count or column.values.null_count:
        return column.take(pa.array(place))
    return take_lists(np.asarray(column.offsets), np.asarray(column.values), np.asarray(place, np.int64))
