"""Collecting what no run needs any more: columns, scratch and old run folders."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from pipeline.store import Store


@dataclass(frozen=True)
class Cleaned:
    """What went: folders of the store, relative names."""

    folders: tuple[str, ...]
    kept_runs: tuple[str, ...]


def clean(store: Store, keep: int, dry_run: bool = False) -> Cleaned:
    """Delete what neither a running run's lease nor one of the `keep` newest ended runs reaches."""
    leases = {
        name.split("/")[1]: _lease(store, name) for name in store.list("runs") if name.endswith("/lease.json")
    }
    running = {run for run, lease in leases.items() if _is_running(lease)}
    ended = sorted(run for run in leases if run not in running)
    kept = running | set(ended[len(ended) - keep :] if keep else ())
    reached = {key for run in kept for key in leases[run].get("nodes", ())}
    # A running run's loops have rounds that no lease names: then only what ended runs had goes.
    ours = {key for run in ended for key in leases[run].get("nodes", ())}
    gone = [key for key in _below(store, "nodes") if key not in reached and (key in ours or not running)]
    folders = [f"nodes/{key}" for key in gone]
    folders += [f"runs/{run}" for run in _below(store, "runs") if run not in kept]
    if not running:
        folders += [f"exports/{key}" for key in _below(store, "exports")]
        folders += [f"train/{name}" for name in _below(store, "train") if not kept]
    if not dry_run:
        store.sweep()
        for folder in folders:
            store.delete(folder)
    return Cleaned(tuple(folders), tuple(sorted(kept)))


def _lease(store: Store, name: str) -> dict[str, Any]:
    try:
        lease: dict[str, Any] = json.loads(store.read(name))
    except ValueError:
        return {}
    return lease


def _is_running(lease: dict[str, Any]) -> bool:
    return lease.get("state") == "running" and float(lease.get("expires", 0)) > time.time()


def _below(store: Store, folder: str) -> list[str]:
    return sorted({name.split("/")[1] for name in store.list(folder)})
