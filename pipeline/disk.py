"""What a store takes: all of it, a run's own columns, what the run added, and what is free beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pipeline.store import Store, free_bytes
from pipeline.units import nbytes


def disk_use(store: Store, keys: Collection[str], new_bytes: int | None = None) -> dict[str, int | None]:
    """keys: of the run's nodes. new_bytes: what the run wrote."""
    sizes = store.sizes("")
    folders = {f"nodes/{key}" for key in keys}
    own = sum(size for name, size in sizes.items() if "/".join(name.split("/")[:2]) in folders)
    return {
        "store_bytes": sum(sizes.values()),
        "run_bytes": own,
        "new_bytes": new_bytes,
        "free_bytes": free_bytes(store),
    }


def told(disk: Mapping[str, Any]) -> str:
    """`6.21 MB, of it 4.61 MB this run's columns (1.20 MB new), 61.2 GB free`."""
    new = f" ({nbytes(disk['new_bytes'])} new)" if disk.get("new_bytes") is not None else ""
    free = f", {nbytes(disk['free_bytes'])} free" if disk.get("free_bytes") is not None else ""
    return f"{nbytes(disk['store_bytes'])}, of it {nbytes(disk['run_bytes'])} this run's columns{new}{free}"
