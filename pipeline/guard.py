"""Stops a run when a node would drop more of one source's documents than anybody is likely to want."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.kernels.counter import mix64
from pipeline.errors import TooMuchDropped
from pipeline.manifest import Manifest
from pipeline.nodes import Guard, Node
from pipeline.samples import documents
from pipeline.store import Store, key_of
from pipeline.units import count
from pipeline.view import ShardView

MOST_NAMES = 200  # values of the group column that a shard tells of; with more it is no name of a source
SAMPLES = 3
ALL = "all"

Counts = dict[str, list[int]]


@dataclass(frozen=True)
class Guarding:
    """The context of counting tasks. group: the source's column that says where a document comes from."""

    store: Store
    manifest: Manifest
    node: Node
    guard: Guard
    group: str | None


def tally(context: Guarding, index: int) -> dict[str, Any]:
    """One shard's {"counts": {source: [rows, dropped]}, "samples": {source: uids}}, kept in the store."""
    store, guard, node = context.store, context.guard, context.node
    view = ShardView(store, context.manifest, index)
    asked = key_of(guard.before.identity(), context.group)
    place = f"nodes/{node.key}/guard/{asked}-{view.shard.id}@{view.shard.base}.json"
    known = store.record(place)
    if known is None:
        store.commit_record(place, _counted(view, context))
        known = store.record(place)
    assert known is not None
    samples = {name: [u + view.shard.base for u in uids] for name, uids in known["samples"].items()}
    return {"counts": known["counts"], "samples": samples}


def _counted(view: ShardView, context: Guarding) -> dict[str, Any]:
    before, after = view.alive(context.guard.before), view.alive(context.node.after)
    rows = np.flatnonzero(before).astype(np.uint32)
    gone = before[rows] & ~after[rows]
    names = _names(view, context.group, rows)
    source = view.shard.source
    counts: Counts = {}
    samples: dict[str, list[int]] = {}
    for name in pc.unique(names).to_pylist():
        mine = np.asarray(pc.equal(names, name))
        label = _label(source, context.group, name)
        dropped = rows[mine & gone]
        counts[label] = [int(mine.sum()), len(dropped)]
        if context.guard.share * counts[label][0] < len(dropped):
            lucky = np.argsort(mix64(dropped.astype(np.uint64)), kind="stable")[:SAMPLES]
            samples[label] = dropped[lucky].tolist()
    return {"counts": counts, "samples": samples}


def _names(view: ShardView, group: str | None, rows: npt.NDArray[np.uint32]) -> pa.Array:
    """The group of each row; all in one where there is no such column, or it has too many values."""
    one = pa.array([""] * len(rows), pa.large_string())
    if group is None:
        return one
    parts = [read.column(group) for _, read in view.read({group}, rows, 65_536) if read is not None]
    names = pa.concat_arrays(parts).fill_null("null") if parts else one
    return names if pc.count_distinct(names).as_py() <= MOST_NAMES else one


def _label(source: str, group: str | None, name: str) -> str:
    parts = [f"source {source}"] if source else []
    parts += [f"{group} {name!r}"] if name else []
    return ", ".join(parts) or "the source"


def check(context: Guarding, tallies: Iterable[Mapping[str, Any]]) -> None:
    """Raises TooMuchDropped with the figures and some of the documents when a source loses too much."""
    total: Counts = {}
    samples: dict[str, list[int]] = {}
    for found in tallies:
        for name, (rows, dropped) in found["counts"].items():
            old = total.get(name, [0, 0])
            total[name] = [old[0] + rows, old[1] + dropped]
        for name, uids in found["samples"].items():
            samples.setdefault(name, []).extend(uids)
    guard, node = context.guard, context.node
    broken = {n: c for n, c in sorted(total.items()) if guard.broken(*c)}
    rows, dropped = (sum(counts) for counts in zip(*total.values(), strict=True)) if total else (0, 0)
    if not broken and len(total) > 1 and guard.broken(rows, dropped):  # of many small ones none is judged
        broken = {"all sources together": [rows, dropped]}
    if not broken:
        return
    lines = [
        f"{node.name} would drop more than {guard.share:.4g} of the documents of {len(broken)} "
        f"of {len(total)} sources (max_drop_share):"
    ]
    for name, (rows, dropped) in list(broken.items())[:20]:
        lines.append(f"  {name}: {count(dropped)} of {count(rows)} ({100 * dropped / rows:.1f} %)")
        seen = samples.get(name) or [uid for uids in samples.values() for uid in uids]
        lines += _shown(context, seen[:SAMPLES])
    lines.append(
        f"look at them: if that is right, run again with --allow {node.name}, or give the node "
        f"`max_drop_share: 1`; if not, make {node.name} drop less, or leave the source out"
    )
    raise TooMuchDropped("\n".join(lines), node.name)


def _shown(context: Guarding, uids: Sequence[int]) -> list[str]:
    """Some dropped documents, each with the one that was kept for it."""
    kept = {uid: _kept(context, uid) for uid in uids}
    texts = documents(context.manifest, sorted({*uids, *(k for k in kept.values() if k is not None)}))
    lines = []
    for uid, other in kept.items():
        beside = "" if other is None else f"; kept: {_brief(texts[other])}"
        lines.append(f"    {_brief(texts[uid])}{beside}")
    return lines


def _kept(context: Guarding, uid: int) -> int | None:
    """The uid of the document that was kept in the place of a dropped one, where the node says so."""
    shard, row = context.manifest.locate(uid)
    view, node = ShardView(context.store, context.manifest, shard.index), context.node
    if "kept" not in node.adds or not view.covered(node.key, node.positional)[row]:
        return None
    table = view.table(node.key, node.positional)
    at = pc.index(table["row"], pa.scalar(row, pa.uint32())).as_py()
    value: int | None = table["kept"][at].as_py()
    return value


def _brief(document: Mapping[str, Any]) -> str:
    flat = " ".join(document["text"].split())
    return f"{document['id']}: {flat if len(flat) <= 60 else flat[:57] + '...'}"
