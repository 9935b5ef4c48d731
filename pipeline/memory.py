"""The memory of this process: the most that it holds while something runs, and what it keeps when freed."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 32 << 20  # the most that every glibc takes for an array; four times that between batches


def keep_freed() -> None:
    """Arrays that a batch frees stay with the process for the next one, up to a bound. The system would
    have to clear new pages each time, and the kernel took a quarter of a run."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 4 * _KEPT_BYTES)


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
