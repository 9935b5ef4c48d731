"""The second look at the shards for the books: histograms, and what the nodes know of the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.books import BINS, Books, Entry, finite_numbers
from pipeline.view import Column, ShardView

EVIDENCE_CHARACTERS = 600  # of a text in a sample's evidence


def details(context: Books, index: int) -> dict[str, Any]:
    """One shard's histograms over the edges that all shards agreed on, and what the nodes know of the
    chosen samples: {"scores": {...}, "evidence": {node: {uid: ...}}}."""
    view = ShardView(context.store, context.manifest, index)
    scores = {}
    for name, edges in context.edges.items():
        numbers, kept, _ = finite_numbers(view, context, name)
        scores[name] = {
            "counts": np.histogram(numbers, edges)[0].tolist(),
            "kept": np.histogram(numbers[kept], edges)[0].tolist(),
        }
    known = {entry.name: _known(view, entry, context.chosen.get(entry.name, ())) for entry in context.entries}
    return {"scores": scores, "evidence": {name: found for name, found in known.items() if found}}


def _known(view: ShardView, entry: Entry, uids: Sequence[int]) -> dict[int, dict[str, Any]]:
    rows = [(uid, uid - view.shard.base) for uid in uids]
    return {
        uid: evidence(view, entry, np.array([row], np.uint32), EVIDENCE_CHARACTERS)
        for uid, row in rows
        if 0 <= row < view.shard.rows
    }


def choose(total: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Node -> the uids of its samples."""
    return {name: tuple(s["uid"] for s in counts["samples"]) for name, counts in total["nodes"].items()}


def add_details(
    total: Mapping[str, Any], shards: Iterable[dict[str, Any]]
) -> dict[str, dict[str, list[int]]]:
    """Score -> its histogram over all shards; the samples get their evidence."""
    sums: dict[str, dict[str, list[int]]] = {}
    for shard in shards:
        for name, found in shard["scores"].items():
            mine = sums.setdefault(name, {"counts": [0] * BINS, "kept": [0] * BINS})
            for side, values in found.items():
                mine[side] = [a + b for a, b in zip(mine[side], values, strict=True)]
        for name, known in shard["evidence"].items():
            for sample in total["nodes"][name]["samples"]:
                sample.update(known.get(sample["uid"], {}))
    return sums


def evidence(view: ShardView, entry: Entry, row: np.ndarray, most: int = 2000) -> dict[str, Any]:
    """A node's small columns for one row: {"kept": uid or None, "evidence": {...}}; of texts at most
    so many characters."""
    table = view.table(entry.key, entry.positional)
    known: dict[str, Any] = {}
    for name in table.column_names:
        if name in ("row", "drop") or pa.types.is_nested(table.schema.field(name).type):
            continue
        column = Column("node", name, entry.name, entry.key, entry.positional, table.schema.field(name).type)
        value = view.values(column, row)[0].as_py()
        if value is not None:
            known[name] = _brief(value, most) if isinstance(value, str | bytes) else value
    return {"kept": known.pop("kept", None), "evidence": known}


def _brief(value: Any, most: int) -> Any:
    """The end of a long text: a traceback says there what went wrong."""
    return value if len(value) <= most else value[-most:]
