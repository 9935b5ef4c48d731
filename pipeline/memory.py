"""The memory of this process: the most that it holds while something runs, and what it keeps when freed."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT_BYTES = 32 << 20  # the most that every glibc takes for an array; four times that between batches
_SHARING = 8  # cores that share such memory: they ask for big arrays, so they hardly wait for each other


def keep_freed(budget: int | None = None) -> None:
    """Arrays that a batch frees stay with the process for the next one, up to a bound. The system would
    have to clear new pages each time, and the kernel took a quarter of a run. Where the process has a
    budget, only a part of it is kept.

    One place keeps them for all: threads share it, as each would keep as much of its own; and so does
    Arrow, which has an allocator of its own, where this runs before pyarrow is imported."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        kept = _KEPT_BYTES if budget is None else min(_KEPT_BYTES, max(1 << 20, budget // 32))
        mallopt(_M_MMAP_THRESHOLD, kept)
        mallopt(_M_TRIM_THRESHOLD, 4 * kept)
        mallopt(_M_ARENA_MAX, max(1, (os.cpu_count() or 1) // _SHARING))
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def reset_peak() -> None:
    """Start a new high-water mark; nothing happens where the system has no such thing."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """The high-water mark since the last reset; since the process began where it cannot be reset."""
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
