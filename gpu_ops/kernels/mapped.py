"""Memory-mapped arrays that are read through without staying in this process's memory."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

HELD = 1 << 26  # bytes of a mapped file that are read before its pages are let go


def let_go(x: Any) -> None:
    """Takes the pages of a read-only memory map, or of a part of one, out of this process; the system keeps
    them as long as it has room. Anything else is left as it is."""
    if isinstance(x, np.memmap) and x.mode == "r":
        pages: Any = getattr(x, "_mmap", None)  # numpy has no public name for it
        if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)
