"""The control groups of this process, in which a container or a job is held to its share of a machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def levels(kind: str, proc: Path, groups: Path) -> Iterator[Path]:
    """The folders of the groups (version 2, and 1) that bound `kind` ("cpu", "memory"), inner ones first."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, own = line.split(":", 2)
        if kinds and kind not in kinds.split(","):
            continue
        top = groups / kind if kinds else groups
        folder = top / own.lstrip("/")
        for level in (folder, *folder.parents):
            if level.is_relative_to(top):
                yield level
