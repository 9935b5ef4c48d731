"""Whether a process that a file speaks of still lives: sure on the same machine, elsewhere not told."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def _stat(pid: int) -> list[str]:
    """What the kernel tells of the process after its name, its state first; empty where it tells nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _birth(stat: list[str]) -> str | None:
    return stat[19] if len(stat) > 19 else None


def birth_of(pid: int) -> str | None:
    """When the process began, in the kernel's ticks since boot: it tells a pid from a later use of it."""
    return _birth(_stat(pid))


@cache
def machine() -> str:
    """This boot of this machine, and this container's own numbering of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def me() -> dict[str, Any]:
    """Who writes: what `lives` looks at."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "machine": machine(), "birth": birth_of(pid)}


def lives(who: Mapping[str, Any]) -> bool | None:
    """Whether that process is there; None where it is another machine's."""
    pid = who.get("pid")
    if who.get("machine") != machine() or not isinstance(pid, int):
        return None
    if not exists(pid):
        return False
    stat = _stat(pid)
    born, zombie = _birth(stat), stat[:1] == ["Z"]  # killed, but its parent has not asked yet
    return not zombie and (born is None or who.get("birth") in (None, born))


def exists(pid: int) -> bool:
    """Whether a process of this number is there, whoever it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
