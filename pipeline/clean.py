"""Collecting what no run needs any more, by reachability from the leases of the runs that stay."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.alive import lives
from pipeline.errors import ResourceError
from pipeline.ledger import LEASE_S, known_runs
from pipeline.store import Store
from pipeline.units import count, nbytes

FOREIGN_S = 86_400.0  # a temporary of another host that nobody wrote for so long belongs to a dead process
KINDS = {
    "nodes": "columns",
    "runs": "run folders",
    "exports": "unfinished exports",
    "ingest": "converted sources",
    "train": "trainings",
    "tmp": "temporaries",
}


@dataclass(frozen=True)
class RunFound:
    """A run of the store, and what it stands on: names of folders."""

    name: str
    state: str
    last_s: float  # when it last wrote
    roots: frozenset[str]


@dataclass(frozen=True)
class Cleaned:
    """What goes: folders and files of the store with their bytes, and the runs that stay or go."""

    bytes: Mapping[str, int]
    kept: tuple[RunFound, ...]
    gone: tuple[RunFound, ...]
    left_bytes: int
    own_bytes: Mapping[str, int]  # of every run that goes: what no other run needs

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(self.bytes)

    @property
    def kept_runs(self) -> tuple[str, ...]:
        return tuple(run.name for run in self.kept)


def clean(
    store: Store,
    keep: int,
    dry_run: bool = False,
    older_s: float | None = None,
    max_bytes: int | None = None,
    agree: Callable[[Cleaned], bool] = lambda _: True,
) -> Cleaned:
    """Delete what neither a running run nor one of the `keep` newest ended ones reaches.

    older_s: also runs that ended so long ago go. max_bytes: also the oldest, until the rest has so many.
    agree: asked once before anything goes. Raises ResourceError when a run begins meanwhile."""
    found = found_runs(store)
    sizes = _folders(store.sizes(""))
    running = [run for run in found if run.state == "running"]
    ended = [run for run in found if run.state != "running"]
    young = ended[len(ended) - keep :] if keep else []
    if older_s is not None:
        young = [run for run in young if time.time() - run.last_s <= older_s]
    while max_bytes is not None and young and _total(sizes, _reached([*running, *young])) > max_bytes:
        young = young[1:]
    cleaned = _cleaned(store, sizes, running, ended, young)
    if dry_run or not agree(cleaned):
        return cleaned
    for folder in cleaned.folders:
        begun = set(known_runs(store)) - {run.name for run in found}
        if begun:
            raise ResourceError(f"the run {min(begun)} began meanwhile, so the rest of the store was left")
        store.delete(folder)
    store.sweep()
    return cleaned


def found_runs(store: Store) -> list[RunFound]:
    """All runs, oldest first. Of one on this machine the process is looked at, elsewhere the lease."""
    found = []
    for name in known_runs(store):
        lease, state = (_json(store, f"runs/{name}/{file}.json") for file in ("lease", "state"))
        roots = {f"nodes/{key}" for key in lease.get("nodes", ())} | set(lease.get("folders", ()))
        manifests = (
            state.get("manifests") or _json(store, f"runs/{name}/run.json").get("manifests") or {}
        ).values()
        for manifest in manifests:
            roots |= _conversions(store, manifest)
        last = float(state.get("now") or float(lease.get("expires") or 0) - LEASE_S)
        found.append(RunFound(name, _state(lease), last, frozenset(roots | {f"runs/{name}"})))
    return found


def _state(lease: Mapping[str, Any]) -> str:
    state = str(lease.get("state"))
    if state != "running":
        return state
    alive = lives(lease)
    if alive is None:
        alive = float(lease.get("expires", 0)) > time.time()
    return "running" if alive else "dead"


def _conversions(store: Store, manifest: str) -> set[str]:
    """The converted files that a manifest stands on."""
    try:
        text = store.read(manifest).decode()
    except FileNotFoundError:
        return set()
    return {f"ingest/{key}" for key in re.findall(r"/ingest/([0-9a-f]+)/", text)}


def _json(store: Store, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _folders(sizes: Mapping[str, int]) -> dict[str, int]:
    """The bytes of whatever lives and dies together."""
    found: dict[str, int] = {}
    for name, size in sizes.items():
        parts = name.split("/")
        depth = 3 if parts[:2] == ["train", "data"] else 2
        folder = "/".join(parts[:depth])
        found[folder] = found.get(folder, 0) + size
    return found


def _reached(runs: Collection[RunFound]) -> set[str]:
    return {root for run in runs for root in run.roots}


def _total(sizes: Mapping[str, int], reached: Collection[str]) -> int:
    return sum(size for folder, size in sizes.items() if folder in reached)


def _cleaned(
    store: Store,
    sizes: Mapping[str, int],
    running: list[RunFound],
    ended: list[RunFound],
    young: list[RunFound],
) -> Cleaned:
    kept = sorted([*running, *young], key=lambda run: run.name)
    gone = [run for run in ended if run not in young]
    reached, ours = _reached(kept), _reached(ended)
    bytes_of = {f: s for f, s in sizes.items() if f not in reached and _may_go(f, ours, bool(running))}
    bytes_of |= dict(_temporaries(store, bool(running)))
    own = {
        run.name: _total(sizes, run.roots - _reached([r for r in [*kept, *ended] if r != run]))
        for run in gone
    }
    left = sum(sizes.values()) - sum(bytes_of.values())
    return Cleaned(bytes_of, tuple(kept), tuple(gone), left, own)


def _may_go(folder: str, ours: Collection[str], running: bool) -> bool:
    """Whether an unreached folder is garbage. A running run's loops and exports have folders that no lease
    names: while one runs, only what ended runs had goes. Manifests stay: they say where documents stand."""
    kind = folder.split("/")[0]
    return kind in ("nodes", "runs", "exports", "ingest", "train") and (not running or folder in ours)


def _temporaries(store: Store, running: bool) -> Iterator[tuple[str, int]]:
    """Those of dead processes: known on this host, elsewhere by age."""
    for name, size, written in store.temporaries():
        dead = store.is_dead(name)
        if dead or (dead is None and not running and time.time() - written > FOREIGN_S):
            yield name, size


def told(cleaned: Cleaned, url: str, dry_run: bool) -> str:
    """What went, or would go, for a reader."""
    kinds: dict[str, list[int]] = {}
    for folder, size in cleaned.bytes.items():
        kinds.setdefault(folder.split("/")[0], []).append(size)
    total = sum(cleaned.bytes.values())
    lines = [
        f"{url}: {'would free' if dry_run else 'freed'} {nbytes(total)}, {nbytes(cleaned.left_bytes)} stay"
    ]
    lines += [f"  {KINDS[kind]}: {count(len(found))}, {nbytes(sum(found))}" for kind, found in kinds.items()]
    lines += [
        f"  run {r.name} ({r.state}): {nbytes(cleaned.own_bytes[r.name])} of its own" for r in cleaned.gone
    ]
    kept = [f"{run.name}{' (running)' if run.state == 'running' else ''}" for run in cleaned.kept]
    return "\n".join([*lines, f"kept the runs: {', '.join(kept) or 'none'}"])
