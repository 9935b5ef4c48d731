"""The plan: what a run would read, compute and find already done, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.contract import Explained
from pipeline.allotment import check_machine, derived
from pipeline.config import Config, ExportConfig
from pipeline.engine import usable_cpus
from pipeline.export import there
from pipeline.graph import Graph
from pipeline.ingest import ConvertTask
from pipeline.ledger import load_run, runs
from pipeline.manifest import Manifest, take_inventory
from pipeline.near_pins import pinned
from pipeline.needs import Need, check_least, needs, warnings
from pipeline.nodes import MAIN, Node
from pipeline.outputs import check_folders, check_outputs, folder_of
from pipeline.packed import PACKED, explain
from pipeline.prepare import RunOptions, latest, open_store, side_inventory, side_sources, source_name
from pipeline.store import Store, free_bytes
from pipeline.tasks import artifact_name
from pipeline.units import count, nbytes, seconds
from pipeline.view import ShardView

RATED_RUNS = 5  # finished runs whose measured speed the plan goes by
EXACT_ROWS = 20_000_000  # up to so many rows the plan looks at every row's fate, beyond at the records


@dataclass(frozen=True)
class Line:
    """What the plan knows of one node. rows None: not before the nodes above have run."""

    node: Node
    rows: int | None
    most: int
    cached: int
    seconds: float | None
    bytes: int | None

    @property
    def todo(self) -> int | None:
        return None if self.rows is None else self.rows - min(self.cached, self.rows)


@dataclass(frozen=True)
class Plan:
    """A config bound to its data."""

    config: Config
    store: Store
    manifests: Mapping[str, Manifest]
    convert: Sequence[ConvertTask]
    lines: Sequence[Line]
    orders: Sequence[str]  # for every export: the column that it is sorted by, or nothing
    memory: Sequence[str]  # the budget of a worker, and who may take more

    def text(self) -> str:
        """The plan for a reader; the same config, data, store and exports give the same text."""
        memory = "\n  ".join(self.memory)
        parts = [
            self._sources(),
            _table(self.lines),
            self._explained(),
            self._outputs(),
            memory,
            self._total(),
        ]
        return "\n\n".join(part for part in parts if part)

    def disk(self) -> str:
        """What the store has and what is free beside it: of today, so it is no part of `text`."""
        free, growth = free_bytes(self.store), sum(line.bytes or 0 for line in self.lines)
        has = f"the store has {nbytes(sum(self.store.sizes('').values()))}"
        if free is None:
            return f"disk: {has}"
        less = "; that is less than the store will grow: see `tamis clean --dry-run`" if growth > free else ""
        return f"disk: {has}, {nbytes(free)} are free{less}"

    def _sources(self) -> str:
        lines = []
        for name, manifest in self.manifests.items():
            size = sum(file.bytes for file in manifest.files)
            what = f"source {name}" if name else "source"
            if self.convert and not manifest.files:
                lines.append(f"{what}: rows not known before the conversion")
                continue
            files, shards = len(manifest.files), len(manifest.shards)
            rows = count(manifest.rows)
            lines.append(f"{what}: {rows} rows, {nbytes(size)}, {files} files, {shards} shards")
        if self.convert:
            size = sum(task.bytes for task in self.convert)
            lines.append(
                f"first: {len(self.convert)} JSONL or CSV files ({nbytes(size)}) become Parquet, once"
            )
        return "\n".join([*lines, f"store: {self.store.url}"])

    def _explained(self) -> str:
        """What operators say of their fields."""
        parts = []
        for node in self.config.ordered():
            operator = node.spec.build(node.fields)
            if isinstance(operator, Explained):
                lines = "\n".join(f"  {line}" for line in operator.explain().splitlines())
                parts.append(f"{node.name} ({node.op}):\n{lines}")
        return "\n\n".join(parts)

    def _outputs(self) -> str:
        last = self.config.nodes[-1].name if self.config.nodes else "source"
        lines = [
            f"export: {e.input or last} -> {e.path} "
            f"({self._format(e)}{order and f', in the order of {order}'})"
            for e, order in zip(self.config.exports, self.orders, strict=True)
        ]
        if (train := self.config.train) is not None:
            lines.append(
                f"train: {train.input} beside {', '.join([*train.compare, *train.arms]) or 'nothing'}"
            )
        return "\n".join(lines)

    def _format(self, export: ExportConfig) -> str:
        if export.format != PACKED:
            return export.format
        return explain(export, there(folder_of(self.config, export.path))[1])

    def _total(self) -> str:
        todo = [line for line in self.lines if line.todo is None or line.todo]
        if not todo:
            return "to compute: nothing, the store has every column"
        known = [line.seconds for line in todo if line.seconds is not None]
        grow = [line.bytes for line in todo if line.bytes is not None]
        cost = f"; about {seconds(sum(known))} of one worker by earlier runs" if known else ""
        growth = f"; the store grows by about {nbytes(sum(grow))}" if grow else ""
        unknown = len(todo) - len(known)
        rest = f" ({unknown} nodes were never measured here)" if unknown and known else ""
        return f"to compute: {len(todo)} of {len(self.lines)} nodes{cost}{rest}{growth}"


def _table(lines: Sequence[Line]) -> str:
    head = ("node", "op", "shape", "rows from", "reads", "adds", "rows in", "in store", "to do")
    rows = [head, *(_cells(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(line: Line) -> tuple[str, ...]:
    node = line.node
    reads = [
        name if c.origin != "node" or name.startswith("/") else f"{c.node}.{c.name}"
        for name, c in node.reads.items()
    ] + [f"<{made}>" for made in node.uses.values()]
    rows = count(line.rows) if line.rows is not None else f"≤ {count(line.most)}" if line.most else "?"
    todo = "after the nodes above" if line.todo is None else "done" if line.todo == 0 else count(line.todo)
    source = ", ".join(name or "source" for name in node.inputs) or (
        node.data.rsplit("/", 1)[-1] if node.data else "source"
    )
    return (
        node.name, node.op, node.shape.removesuffix("Op").lower(), source, ", ".join(reads) or "-",
        ", ".join(node.adds) or "an artifact", rows, count(line.cached) if line.cached else "-", todo,
    )  # fmt: skip


def make_plan(config: Config, options: RunOptions) -> Plan:
    """Bind the config to its data and look at the store; nothing is computed or converted.

    Raises ConfigError and DataError as a run would before it starts."""
    store = open_store(config, options)
    convert: list[ConvertTask] = []
    found: dict[str, Manifest] = {}
    inventory = take_inventory(config.sources, config.base, store)
    previous = None if options.accept_source else latest(store, source_name(config))
    found[MAIN] = _manifest(inventory, store, previous, convert)
    for path in side_sources(config):
        found[path] = _manifest(side_inventory(path, config, store), store, None, convert)
    config, _ = pinned(config, found[MAIN])
    graph = Graph(config, found)
    nodes = list(graph.build().values())
    check_outputs(config, graph)
    check_folders(config, found, store)
    memory = _memory(config, options, needs(config, graph, found), bool(convert))
    rates = _rates(store)
    lines = [_line(node, graph, found[node.data], store, rates, exact=not convert) for node in nodes]
    return Plan(config, store, found, convert, lines, _orders(config, graph), memory)


def _memory(config: Config, options: RunOptions, found: Sequence[Need], convert: bool) -> list[str]:
    """The budget of a worker and whom it is too small for. Raises ConfigError where it cannot be kept or had.

    What the nodes of a Ray cluster have is only known when a run joins it."""
    declared = options.memory or config.memory
    if declared is None and options.engine == "ray":
        return ["memory: what the cluster's nodes have for each CPU; --memory declares it"]
    workers = options.workers or usable_cpus()
    memory = declared or derived(workers)
    if declared is not None:
        check_least(config, memory, convert)
        if options.engine == "local":
            check_machine(memory, workers)
    how = "declared" if declared else "their part of this machine; --memory declares it"
    first = f"memory: {nbytes(memory)} for each of {workers} workers ({how})"
    if options.engine == "ray":
        first = f"memory: {nbytes(memory)} a worker (declared)"
    return [first, *warnings(memory, found)]


def _orders(config: Config, graph: Graph) -> list[str]:
    """The column by which each export is sorted, empty where the rows stay in the source's order."""
    last = config.nodes[-1].name if config.nodes else ""
    inputs = [export.input or last for export in config.exports]
    found = [graph.order_above(name) if name in graph.nodes else None for name in inputs]
    return ["" if column is None else f"{column.node}.{column.name}" for column in found]


def _manifest(
    inventory: Any, store: Store, previous: Manifest | None, convert: list[ConvertTask]
) -> Manifest:
    """The manifest, or one without rows where files have to be converted first."""
    if not inventory.to_convert:
        made: Manifest = inventory.manifest(store, previous)
        return made
    convert += inventory.to_convert
    return Manifest((), (), dict(inventory.settings), inventory.schemas(store))


def _rates(store: Store) -> dict[str, tuple[float, float]]:
    """Operator -> (seconds, stored bytes) a row, as the newest run that computed it measured them."""
    found: dict[str, tuple[float, float]] = {}
    for run_id in runs(store)[-RATED_RUNS:]:
        for node in load_run(store, run_id)["nodes"]:
            if rows := node["computed_rows"]:
                found[node["runs"]] = (node["seconds"] / rows, node["store_bytes"] / rows)
    return found


def _line(
    node: Node,
    graph: Graph,
    manifest: Manifest,
    store: Store,
    rates: Mapping[str, tuple[float, float]],
    exact: bool,
) -> Line:
    if not exact:
        return Line(node, None, manifest.rows, 0, None, None)
    above = [graph.nodes[d.name] for d in node.alive.drops()]
    known = all(_complete(drop, graph, manifest, store) for drop in above)
    rows, cached = _fate(node, manifest, store, known)
    if node.shape in ("FoldOp", "FitOp") and not node.adds and rows is not None:
        cached = rows if store.exists(artifact_name(node.key)) else 0
    todo = (manifest.rows if rows is None else rows) - min(cached, rows if rows is not None else cached)
    rate = rates.get(node.op)
    cost, size = (rate[0] * todo, int(rate[1] * todo)) if rate else (None, None)
    return Line(node, rows, manifest.rows, cached, cost, size)


def _complete(node: Node, graph: Graph, manifest: Manifest, store: Store) -> bool:
    """Whether every alive row has the node's verdict, the nodes above included."""
    above = [graph.nodes[d.name] for d in node.alive.drops()]
    if not all(_complete(drop, graph, manifest, store) for drop in above):
        return False
    rows, cached = _fate(node, manifest, store, known=True)
    return rows is not None and cached >= rows


def _fate(node: Node, manifest: Manifest, store: Store, known: bool) -> tuple[int | None, int]:
    """(rows alive before the node, how many of them have its columns)."""
    rows = cached = 0
    for shard in manifest.shards:
        view = ShardView(store, manifest, shard.index)
        if not known or manifest.rows > EXACT_ROWS:
            cached += sum(int(str(record["rows"])) for record in view.records(node.key, node.positional))
            continue
        alive = view.alive(node.alive)
        rows += int(alive.sum())
        cached += int(np.logical_and(alive, view.covered(node.key, node.positional)).sum())
    return (rows if known and manifest.rows <= EXACT_ROWS else None), cached
