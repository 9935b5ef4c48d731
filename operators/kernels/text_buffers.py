"""Text columns as the bytes and bounds that kernels read, without Python strings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]


def text_buffers(texts: pa.Array) -> tuple[Bytes, Int64s, Int64s]:
    """The buffer of a large_string array and where each of its n texts starts and ends in it.

    A null is an empty text. Nothing is copied but the bounds of nulls.
    """
    n, (_, offsets_buffer, data_buffer) = len(texts), texts.buffers()
    if n == 0 or offsets_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + n + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.zeros(0, np.uint8)
    starts, ends = offsets[:-1], offsets[1:]
    if texts.null_count:
        ends = np.where(texts.is_valid().to_numpy(zero_copy_only=False), ends, starts)
    return data, starts, ends
