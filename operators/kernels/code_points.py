"""Counts the characters of texts in UTF-8 bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel
from operators.kernels.lower import decode

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]


@kernel
def _count(data: Any, starts: Any, ends: Any, out: Any) -> None:
    for row in range(len(starts)):
        i, end, many = starts[row], ends[row], 0
        while i < end:
            after = i + 1
            if data[i] >= 0x80:
                _, after = decode(data, i, end)
            many += 1
            i = after
        out[row] = many


def count_code_points(data: Bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """(n,) code points of each text data[starts[i]:ends[i]]; each byte of invalid UTF-8 is one."""
    out = np.empty(len(starts), np.int64)
    _count(data, starts, ends, out)
    return out


def reference(text: bytes) -> int:
    """The characters of one text by Python's own decoder, which here takes invalid bytes one by one."""
    return len(text.decode("utf-8", "surrogateescape"))
