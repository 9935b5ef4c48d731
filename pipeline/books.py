"""The books of a run: for every node what came in, what stayed, what went and why; they must balance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.kernels.counter import mix64
from operators.kernels.cuts import bytes_cut
from pipeline.compute import QUARANTINE
from pipeline.errors import DataError
from pipeline.graph import Graph
from pipeline.manifest import Manifest
from pipeline.nodes import MAIN, SIZE, Node, common_schema
from pipeline.store import Store
from pipeline.view import Alive, Column, Mask, ShardView

BINS = 64
NODES = 24  # whose books, histograms and samples one task tells of
SAMPLES = 3  # dropped documents that the report shows for a node's reason
GROUPS_BYTES = 6000  # of names and counts that a shard tells of; more are no groups
GROUP_NAMES = ("domain", "source", "category", "subset", "language", "lang", "label", "split")
IDENTITIES = ("kept", "twin", "cluster", "order", "drop", QUARANTINE)


@dataclass(frozen=True)
class Entry:
    """What is counted for one node. tokens: the column that counts them, where there is one. edits: the
    cuts that were made in the text above the node, and after it."""

    name: str
    key: str
    alive: Alive
    after: Alive
    drops: bool
    positional: bool
    tokens: Column | None
    edits: tuple[tuple[Column, ...], tuple[Column, ...]] = ((), ())


@dataclass(frozen=True)
class Books:
    """The context of tally tasks. scores: the columns of which a histogram is drawn; sink: who is
    alive at the end."""

    store: Store
    manifest: Manifest
    entries: tuple[Entry, ...]
    size: Column
    scores: Mapping[str, Column]
    scored: Mapping[str, Alive]
    sink: Alive
    group: str | None
    edges: Mapping[str, list[float]] = field(default_factory=dict)
    chosen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # node -> uids of its samples
    whole: bool = True  # also counts the rows of groups and of the end

    def parts(self) -> list[Books]:
        """The same in parts of so few nodes that a task's answer stays small; the first counts the rest."""
        most = max(len(self.entries), len(self.scores), 1)
        names = list(self.scores)
        return [
            replace(
                self,
                entries=self.entries[at : at + NODES],
                scores={name: self.scores[name] for name in names[at : at + NODES]},
                edges={name: self.edges[name] for name in names[at : at + NODES] if name in self.edges},
                whole=at == 0,
            )
            for at in range(0, most, NODES)
        ]


def books_for(graph: Graph, manifest: Manifest, store: Store, sink: Alive) -> Books:
    """What to count for the nodes of a graph."""
    nodes = [n for n in graph.nodes.values() if n.data == MAIN and "@" not in n.name]
    entries = tuple(_entry(graph, node) for node in nodes)
    scores = {
        f"{n.name}.{column}": graph.column_of(n.name, column)
        for n in nodes
        if n.face
        for column, dtype in n.adds.items()
        if _is_number(dtype) and column not in IDENTITIES
    }
    scored = {name: graph.nodes[column.node].alive for name, column in scores.items()}
    size = graph.column_of(SIZE, "bytes")
    return Books(store, manifest, entries, size, scores, scored, sink, group_column(manifest))


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_floating(dtype) or pa.types.is_integer(dtype))


def _entry(graph: Graph, node: Node) -> Entry:
    tokens = graph.nearest_column("tokens", node.name)
    whole = tokens if tokens is not None and pa.types.is_integer(tokens.dtype) else None
    edits = graph.edits(node.inputs), graph.edits((node.name,))
    return Entry(node.name, node.key, node.alive, node.after, node.drops, node.positional, whole, edits)


def group_column(manifest: Manifest) -> str | None:
    """The source's column that says where a document comes from, if it has a usual name."""
    schema = common_schema(manifest)
    strings = [f.name for f in schema if f.type in (pa.large_string(), pa.string())]
    return next((name for name in GROUP_NAMES if name in strings), None)


def tally(context: Books, index: int) -> dict[str, Any]:
    """One shard's books: counts only."""
    view = ShardView(context.store, context.manifest, index)
    everyone = np.arange(view.shard.rows, dtype=np.uint32)
    size = np.zeros(view.shard.rows, np.int64)
    known = np.flatnonzero(view.covered(context.size.key, False)).astype(np.uint32)
    size[known] = view.values(context.size, known).to_numpy(zero_copy_only=False)
    sink = view.alive(context.sink)
    return {
        "nodes": {e.name: _count(view, e, size) for e in context.entries},
        "scores": {name: _range(view, context, name) for name in context.scores},
        "groups": _groups(view, context.group, everyone, sink) if context.whole else {"in": {}, "out": {}},
        "kept": int(sink.sum()) if context.whole else 0,
    }


def _count(view: ShardView, entry: Entry, size: np.ndarray) -> dict[str, Any]:
    before, after = view.alive(entry.alive), view.alive(entry.after)
    found: dict[str, Any] = {
        "rows_in": int(before.sum()),
        "rows_out": int(after.sum()),
        "bytes_in": int((size - _cut_away(view, entry.edits[0]))[before].sum()),
        "bytes_out": int((size - _cut_away(view, entry.edits[1]))[after].sum()),
        "tokens_in": _sum(view, entry.tokens, before),
        "tokens_out": _sum(view, entry.tokens, after),
        "dropped": {},
        "samples": [],
    }
    if entry.drops:
        gone = np.flatnonzero(before & ~after).astype(np.uint32)
        reasons = view.values(
            Column("node", "drop", entry.name, entry.key, entry.positional, pa.string()), gone
        )
        names = pc.cast(reasons, pa.string())
        found["dropped"] = {v["values"]: v["counts"] for v in pc.value_counts(names).to_pylist()}
        found["samples"] = _samples(view, entry, gone, names)
    return found


def _cut_away(view: ShardView, edits: Sequence[Column]) -> np.ndarray:
    """Bytes that each row of the shard has lost to the nodes that edit the text."""
    lost = np.zeros(view.shard.rows, np.int64)
    for edit in edits:
        rows = np.flatnonzero(view.covered(edit.key, edit.positional)).astype(np.uint32)
        lost[rows] += bytes_cut(view.values(edit, rows))
    return lost


def _sum(view: ShardView, column: Column | None, mask: Mask) -> int | None:
    if column is None:
        return None
    have = view.covered(column.key, column.positional)
    if (mask & ~have).any():
        return None
    values = view.values(column, np.flatnonzero(mask).astype(np.uint32))
    return int(pc.sum(values).as_py() or 0)


def _samples(view: ShardView, entry: Entry, gone: np.ndarray, names: pa.Array) -> list[dict[str, Any]]:
    """Some dropped rows of every reason, chosen by a hash of the uid."""
    uid = gone.astype(np.int64) + view.shard.base
    luck = mix64(uid.astype(np.uint64))
    found = []
    for reason in sorted(set(pc.unique(names).to_pylist())):
        mine = np.flatnonzero(pc.equal(names, reason).to_numpy(zero_copy_only=False))
        best = mine[np.argsort(luck[mine], kind="stable")[:SAMPLES]]
        found += [{"uid": int(uid[at]), "luck": int(luck[at]), "reason": reason} for at in best]
    return found


def finite_numbers(view: ShardView, context: Books, name: str) -> tuple[np.ndarray, Mask, dict[str, int]]:
    """(finite values, which of them survive to the end, how many are null, how many infinite or nan)."""
    column = context.scores[name]
    mask = view.alive(context.scored[name]) & view.covered(column.key, column.positional)
    rows = np.flatnonzero(mask).astype(np.uint32)
    values = pc.cast(view.values(column, rows), pa.float64(), safe=False)
    numbers = values.to_numpy(zero_copy_only=False)
    finite = np.isfinite(numbers)
    nulls = values.null_count
    missing = {"nulls": nulls, "infinite": int((~finite).sum()) - nulls}
    return numbers[finite], view.alive(context.sink)[rows][finite], missing


def _range(view: ShardView, context: Books, name: str) -> dict[str, Any]:
    numbers, _, missing = finite_numbers(view, context, name)
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (None, None)
    with np.errstate(over="ignore"):
        total = float(numbers.sum())
    return {"count": len(numbers), **missing, "min": low, "max": high, "sum": total}


def _groups(
    view: ShardView, group: str | None, rows: np.ndarray, sink: Mask
) -> dict[str, dict[str, int]] | None:
    """Rows of each group, before and at the end; None where there are no groups, or too many to tell."""
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for some, read in view.read({group} if group else set(), rows, 65_536):
        if read is None:
            return None
        values = pc.fill_null(read.column(group), "(none)")
        before.update(_value_counts(values))
        after.update(_value_counts(values.filter(pa.array(sink[some]))))
        if sum(2 * len(name) + 8 for name in before) > GROUPS_BYTES:
            return None
    return {"in": dict(before), "out": dict(after)}


def _value_counts(values: pa.Array) -> dict[str, int]:
    return {v["values"]: v["counts"] for v in pc.value_counts(values).to_pylist()}


def add_up(shards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All shards' books as one."""
    total: dict[str, Any] = {
        "nodes": {},
        "scores": {},
        "groups": {"in": Counter(), "out": Counter()},
        "kept": 0,
    }
    for shard in shards:
        total["kept"] += shard["kept"]
        for name, counts in shard["nodes"].items():
            _add_node(total["nodes"].setdefault(name, {}), counts)
        for name, score in shard["scores"].items():
            _add_score(total["scores"].setdefault(name, {}), score)
        if shard["groups"] is None:
            total["groups"] = None
        elif total["groups"] is not None:
            for side, counts in shard["groups"].items():
                total["groups"][side].update(counts)
    return total


def _add_node(total: dict[str, Any], counts: Mapping[str, Any]) -> None:
    for name, value in counts.items():
        if name == "dropped":
            total[name] = dict(Counter(total.get(name, {})) + Counter(value))
        elif name == "samples":
            total[name] = _best(total.get(name, []) + value)
        elif value is None or (name in total and total[name] is None):
            total[name] = None
        else:
            total[name] = total.get(name, 0) + value


def _best(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The luckiest samples of every reason: the same whichever shard they lie in."""
    chosen: list[dict[str, Any]] = []
    for reason in sorted({s["reason"] for s in samples}):
        chosen += sorted((s for s in samples if s["reason"] == reason), key=lambda s: s["luck"])[:SAMPLES]
    return chosen


def _add_score(total: dict[str, Any], score: Mapping[str, Any]) -> None:
    for name in ("count", "nulls", "infinite"):
        total[name] = total.get(name, 0) + score[name]
    total["sum"] = _exact_sum(total.get("sum", 0), score["sum"])
    for name, better in (("min", min), ("max", max)):
        known = [v for v in (total.get(name), score[name]) if v is not None]
        total[name] = better(known) if known else None


def _exact_sum(total: Fraction | float, part: float) -> Fraction | float:
    """Nothing is rounded, so that a mean is the same in whichever order the shards come."""
    if isinstance(total, float):  # infinite already
        return total + part
    return total + Fraction(part) if math.isfinite(part) else part


def edges_of(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
    """Equal bins from the smallest to the largest value of each score."""
    return {
        name: np.linspace(s["min"], s["max"] if s["max"] > s["min"] else s["min"] + 1.0, BINS + 1).tolist()
        for name, s in scores.items()
        if s["count"]
    }


def balance(total: Mapping[str, Any], rows: int) -> None:
    """in = kept + dropped by reason (quarantine is one), for every node; DataError names the node."""
    for name, counts in total["nodes"].items():
        gone = sum(counts["dropped"].values())
        if counts["rows_in"] != counts["rows_out"] + gone:
            raise DataError(
                f"the books of {name} do not balance: {counts['rows_in']} in, {counts['rows_out']} out, "
                f"{gone} dropped; please report this with the run folder"
            )
    if total["kept"] > rows:
        raise DataError(f"the books do not balance: {total['kept']} kept of {rows} rows")
