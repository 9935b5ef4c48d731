"""Whether a process that a file speaks of still lives: sure on the same machine, elsewhere not told."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def birth_of(pid: int) -> str | None:
    """When the process began, in the kernel's ticks since boot: it tells a pid from a later use of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


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
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    born = birth_of(pid)
    return not _is_zombie(pid) and (born is None or who.get("birth") in (None, born))


def _is_zombie(pid: int) -> bool:
    """Killed, but its parent has not asked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
