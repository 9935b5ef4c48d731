"""How much memory a worker may take: as declared, or derived from the machine; refused where it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.groups import levels
from pipeline.sizes import parse_bytes
from pipeline.units import nbytes

SHARE = 0.7  # of the machine, for workers whose memory nobody declared; the rest is what they stand on
FLOOR = 64 << 20  # with less no step works


def machine_bytes(proc: str = "/proc/self/cgroup", groups: str = "/sys/fs/cgroup") -> int | None:
    """The smaller of the machine's memory and the limits of this process's control groups, if known."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    for level in levels("memory", Path(proc), Path(groups)):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (level / name).read_text("ascii").strip()
            except OSError:
                continue
            if text.isdigit():
                total = min(total, int(text))
    return total


def parse_memory(text: str) -> int:
    """A budget as people write it; ValueError says what is wrong with it."""
    size = parse_bytes(text)
    if size < FLOOR:
        raise ValueError(f"{text!r} is too little for any step; the least is {FLOOR >> 20}MiB")
    return size


def derived(workers: int) -> int:
    """The budget of each of so many workers on this machine, where none is declared."""
    return max(FLOOR, int(SHARE * (machine_bytes() or 4 << 30)) // workers)


def check_machine(memory: int, workers: int) -> None:
    """Raises ConfigError for more than this machine has."""
    there = machine_bytes()
    if there is not None and memory * workers > there:
        few = f", or fewer workers (--workers {there // memory})" if memory <= there else ""
        raise ConfigError(
            f"memory {nbytes(memory)} for each of {workers} workers is more than the {nbytes(there)} that "
            f"this machine has; give at most {nbytes(there // workers)}{few}"
        )
