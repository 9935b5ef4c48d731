"""Text columns as the bytes and bounds that kernels read, without Python strings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

_MIDDLE, _HEAD = 0xC0, 0x80  # a UTF-8 byte in the middle of a character is 10xxxxxx
_LONGEST = 4  # bytes of a character


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


def truncated(data: Bytes, starts: Int64s, ends: Int64s, most: int) -> Int64s:
    """(n,) where the first `most` bytes (4 or more) of each text end, or fewer, so that no character is cut
    in two; invalid UTF-8 loses at most 3 bytes to that."""
    cut = np.minimum(ends, starts + most)
    for _ in range(_LONGEST - 1):
        inside = cut < ends
        inside[inside] = data[cut[inside]] & _MIDDLE == _HEAD
        cut = cut - inside
    return cut
