"""Arrow lists as lengths and flat values, without Python lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Int64s = npt.NDArray[np.int64]


def flat(lists: pa.Array) -> tuple[Int64s, Any]:
    """(lengths (n,) int64, values) of a list or large_list array; a null is an empty list."""
    starts, lengths = bounds(lists)
    offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    values = lists.values.to_numpy(zero_copy_only=False)
    return lengths, values[np.arange(len(offsets)) + offsets] if len(offsets) else values[:0]


def bounds(lists: pa.Array) -> tuple[Int64s, Int64s]:
    """(starts, lengths), (n,) int64 each, into `lists.values`."""
    offsets = np.asarray(lists.offsets).astype(np.int64)
    lengths = np.diff(offsets)
    if lists.null_count:
        lengths = np.where(lists.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    return offsets[:-1], lengths


def listed(lengths: npt.NDArray[Any], values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """A list<kind> array of these lengths over the flat values."""
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(
            f"one batch makes {offsets[-1]} list values, more than 2^31 - 1: use smaller batches"
        )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind))


def fixed(cells: npt.NDArray[Any]) -> pa.Array:
    """A fixed-size binary array of the rows of a 2-d array."""
    cells = np.ascontiguousarray(cells)
    width = cells.shape[1] * cells.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(cells), [None, pa.py_buffer(cells)])


def cells(array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    """The (n, width) array behind a fixed-size binary array; what a null holds is undefined."""
    n, width = len(array), array.type.byte_width
    if n == 0:
        return np.zeros((0, width // np.dtype(dtype).itemsize), dtype)
    bytes_ = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + n) * width]
    return bytes_.reshape(n, width).view(dtype)


def filled(array: pa.Array, value: Any) -> npt.NDArray[Any]:
    """The numbers of an array with `value` for nulls."""
    return np.asarray(array.fill_null(pa.scalar(value, array.type)))
