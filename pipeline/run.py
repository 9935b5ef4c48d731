"""A run: everything that the config asks for and the store has not yet, then books and report."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from operators.contract import Telling
from pipeline import books, details, dropped, ingest
from pipeline.catalog import OpSpec
from pipeline.compute import QUARANTINE
from pipeline.config import Config, ExportConfig
from pipeline.disk import disk_use
from pipeline.drive import Driver, file_bounds, run_phases
from pipeline.engine import Engine, make_engine
from pipeline.errors import ConfigError, DataError, TooMuchDropped, exit_code
from pipeline.export import Export, identity, write_export
from pipeline.graph import Graph
from pipeline.guard import ALL
from pipeline.ledger import Ledger
from pipeline.manifest import Manifest
from pipeline.metrics import metered
from pipeline.near_pins import check_part, pinned
from pipeline.needs import check_least, needs, warnings
from pipeline.nodes import MAIN, Node
from pipeline.ordered import chunk_bytes
from pipeline.outputs import check_folders, check_outputs, folder_of
from pipeline.packed import Packing, packing_of, told
from pipeline.prepare import RunOptions, check_writable, manifests, open_store, save
from pipeline.redact import brief
from pipeline.runlog import event
from pipeline.samples import with_texts
from pipeline.store import Store
from pipeline.suggest import did_you_mean
from pipeline.tasks import Done, artifact_name
from pipeline.units import nbytes
from pipeline.view import Alive

if TYPE_CHECKING:
    from pipeline.ingest import ConvertTask
    from pipeline.progress import Progress

__all__ = ["RunOptions", "run"]

BATCH_ROWS = 4096


class Run:
    """One run under way: what it stands on, and what it has learnt so far."""

    def __init__(self, config: Config, options: RunOptions, progress: Progress, engine: Engine) -> None:
        self.config, self.options, self.progress = config, options, progress
        self.began = time.time()
        self.cpu_began = time.process_time()
        self.store = open_store(config, options)
        check_writable(self.store)
        self.store.sweep()
        self.redact = config.redact or options.redact
        about = {
            "command": options.command or f"tamis run {config.file}", "folder": os.getcwd(),
            "config": str(config.file.resolve()), "store": self.store.url, "engine": engine.name,
            "workers": engine.workers, "version": package_version(),
        }  # fmt: skip
        self.ledger = Ledger(self.store, config.file.stem, progress, about, self.redact)
        self.work: dict[str, Done] = {}

    def go(self, engine: Engine) -> dict[str, Any]:
        """The whole run; the run data, written to the run folder too."""
        engine.check_store(self.store)
        if self.options.memory or self.config.memory:
            check_least(self.config, engine.memory, convert=False)
        self.sources = manifests(self.config, self.store, self.options, self._converter(engine))
        self.saved = save(self.store, self.config, self.sources)
        manifest = self.sources[MAIN]
        self.progress.note(
            f"{manifest.rows:,} documents in {len(manifest.files)} files, {len(manifest.shards)} shards; "
            f"{engine.name} engine, {engine.workers} workers of {nbytes(engine.memory)}; "
            f"store {self.store.url}"
        )
        self.config, self.pins = pinned(self.config, manifest, self.progress.note)
        parts = sorted({path for fields in self.pins.values() for paths in fields.values() for path in paths})
        for _ in engine.run(check_part, None, parts):
            pass
        self.graph = Graph(self.config, self.sources)
        nodes = list(self.graph.build().values())
        check_outputs(self.config, self.graph)
        check_folders(self.config, self.sources, self.store)
        for warning in warnings(engine.memory, needs(self.config, self.graph, self.sources)):
            self.progress.note(f"memory: {warning}")
        self.ledger.begin(self.config, nodes, self.saved)
        self.driver = Driver(
            self.graph, self.store, engine, self._device(), self._batch_rows(), self._allowed()
        )
        run_phases(self.driver, nodes, self._learn, self._ended)
        found = self._books(engine, manifest)
        found["exports"] = [self._export(engine, number, found) for number in range(len(self.config.exports))]
        found["train"] = self._train(engine)
        self._close(found, engine)
        for export in found["exports"]:
            if not export["rows"] and (refusal := self._refusal(found, export["path"], export["node"])):
                raise refusal
        return found

    def _export(self, engine: Engine, number: int, found: Mapping[str, Any]) -> dict[str, Any]:
        """One of the config's exports. Where no document is left and nobody allowed that, the folder stays as
        it is: what an earlier run wrote is better than nothing."""
        config = self.config.exports[number]
        where, path = self.node_of(config.input), folder_of(self.config, config.path)
        left = next((n["rows_out"] for n in found["nodes"] if n["name"] == where), self.sources[MAIN].rows)
        if left or self._refusal(found, path, where) is None:
            return self.export(engine, config, number)
        none = {"rows": 0, "bytes": 0, "files": 0, "tokens": None}
        return {"path": path, "format": config.format, "node": where, **none}

    def _converter(self, engine: Engine) -> Any:
        def convert(tasks: list[ConvertTask]) -> None:
            size = sum(task.bytes for task in tasks)
            self.progress.note(
                f"turning {len(tasks)} row-oriented files ({size / 1e6:.1f} MB) into Parquet, once"
            )
            for _ in engine.run(_convert, self.store, tasks):
                pass

        return convert

    def _allowed(self) -> tuple[str, ...]:
        """The nodes that --allow names; ConfigError for one that is not there."""
        for name in self.options.allow:
            if name != ALL and name not in self.graph.nodes:
                hint = did_you_mean(name, (n.name for n in self.config.nodes))
                raise ConfigError(f"--allow {name}: no node of that name{hint}")
        return self.options.allow

    def _refusal(self, found: Mapping[str, Any], path: str, node: str) -> TooMuchDropped | None:
        """What is said of an export without a document, unless that is allowed: a job that goes on with it
        would not notice."""
        emptied = next((n for n in found["nodes"] if n["rows_in"] and not n["rows_out"]), None)
        name = (emptied["name"] if emptied else node).split("/")[0]
        asked = next((n.max_drop_share for n in self.config.nodes if n.name == name), None)
        if asked == 1 or {name, ALL} & set(self._allowed()):
            return None
        why = f"what {name} leaves has no text to write"
        if emptied:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(emptied["dropped"].items()))
            why = f"{name} dropped all {emptied['rows_in']:,} it got ({reasons})"
        return TooMuchDropped(
            f"no document is left for {path}: {why}; the report and `tamis why` say more: if that is right, "
            f"run again with --allow {name}; if not, change the node or its input",
            name,
        )

    def _device(self) -> str:
        return self.options.device

    def _batch_rows(self) -> int:
        return self.options.batch_rows or BATCH_ROWS

    def _learn(self, node: Node, done: Done, which: dict[str, Any]) -> None:
        """A task of a node has ended."""
        name = node.name.split("@")[0]
        total = self.work.get(name)
        if total is None:
            total = self.work[name] = Done()
            looping = "@" in node.name or node.shape == "LoopOp"
            self.progress.start(name, None if looping else self.sources[node.data].rows)
        total.rows += done.rows
        total.seconds += done.seconds
        total.cpu_seconds += done.cpu_seconds
        total.bytes += done.bytes
        total.peak_memory_bytes = max(total.peak_memory_bytes, done.peak_memory_bytes)
        total.judged += done.judged
        total.dropped += done.dropped
        kept, judged = (done.judged - done.dropped, done.judged) if done.judged else (None, None)
        self.progress.advance(name, done.rows, kept, judged)
        host, _, worker = done.place.rpartition(":")
        event(
            "task", level=logging.DEBUG, node=node.name, **which, host=host, worker=worker, rows=done.rows,
            dropped=done.dropped, quarantined=done.quarantined or None, bytes=done.bytes,
            duration=round(done.seconds, 4), cpu=round(done.cpu_seconds, 4),
        )  # fmt: skip

    def _ended(self, name: str) -> None:
        self.ledger.ended(name)
        if name in self.work:
            self.progress.finish(name)

    def export(self, engine: Engine, config: ExportConfig, number: int) -> dict[str, Any]:
        """One of the config's exports, and its dropped rows where they are asked for."""
        where, path = self.node_of(config.input), folder_of(self.config, config.path)
        columns, packing = tuple(config.columns or ()), packing_of(self.config, config, number)
        made = self.write(engine, where, path, config.format, columns, config.file_bytes, packing)
        if config.dropped is not None:
            folder = folder_of(self.config, config.dropped)
            made["rejected"] = dropped.write(self, engine, where, folder, config.format)
        return made

    def write(
        self, engine: Engine, node: str, path: str, format: str, columns: tuple[str, ...], file_bytes: int,
        packing: Packing | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The rows that a node leaves alive, in the nearest order above it."""
        graph = self.graph
        found = {name: graph.column_above(name, node) for name in columns}
        order = graph.order_above(node)
        plain = Export(
            self.store, self.sources[MAIN], self.alive(node), path, format, order, found, (), file_bytes,
            edits=graph.edits((node,)), packing=packing,
        )  # fmt: skip
        export = replace(plain, key=identity(plain))
        if order is not None:
            bounds, size = file_bounds(self.driver, node, file_bytes, self._learn, self._ended)
            export = replace(export, bounds=bounds, chunk=chunk_bytes(size))
        self.progress.note(f"export {node} to {path}")
        mark = write_export(export, engine.run)
        size = sum(f["bytes"] for f in mark["files"].values())
        return {
            "path": path, "format": format, "rows": mark["rows"], "bytes": size,
            "files": len(mark["files"]), "tokens": None, "node": node,
            **({} if packing is None else told(packing, mark)),
        }  # fmt: skip

    def node_of(self, name: str | None) -> str:
        """The node that is meant, the last one where none is named."""
        if name is not None:
            return name
        return self.config.nodes[-1].name if self.config.nodes else next(iter(self.config.sources))

    def alive(self, node: str) -> Alive:
        return self.graph.nodes[node].after if node in self.graph.nodes else Alive("source", node)

    def _books(self, engine: Engine, manifest: Manifest) -> dict[str, Any]:
        shards = range(len(manifest.shards))
        sink = self._sink()
        context = books.books_for(self.graph, manifest, self.store, sink)
        told = (t for part in context.parts() for _, t in engine.run(books.tally, part, shards))
        total = books.add_up(told)
        books.balance(total, manifest.rows)
        context = replace(context, edges=books.edges_of(total["scores"]), chosen=details.choose(total))
        drawn = (d for part in context.parts() for _, d in engine.run(details.details, part, shards))
        counts = details.add_details(total, drawn)
        groups = total["groups"] if context.group and total["groups"] else None
        return {
            "source": {
                "rows": manifest.rows, "bytes": sum(file.bytes for file in manifest.files),
                "files": len(manifest.files), "shards": len(manifest.shards),
            },
            "nodes": [self._node(n, total) for n in self.graph.nodes.values() if n.name in total["nodes"]],
            "scores": [_score(name, context, total, counts) for name in total["scores"]],
            "samples": with_texts(manifest, total["nodes"]),
            "groups": {"column": context.group, **groups} if groups else None,
            "kept": total["kept"],
        }  # fmt: skip

    def _sink(self) -> Alive:
        """Who is alive at the end: what the first export writes, or what the last node leaves."""
        if self.config.exports:
            return self.alive(self.node_of(self.config.exports[0].input))
        return self.alive(self.node_of(None))

    def _node(self, node: Node, total: Mapping[str, Any]) -> dict[str, Any]:
        counts = dict(total["nodes"].get(node.name, {}))
        counts.pop("samples", None)
        done = self.work.get(node.name, Done())
        quarantined = counts.get("dropped", {}).pop(QUARANTINE, 0)
        op, fields, spec = self._asked(node)
        doc = " ".join((spec.cls().__doc__ or "").strip().split("\n\n")[0].split())
        passes = max(1, self.driver.rounds.get(node.name, 1))
        computed = min(done.rows // passes, counts.get("rows_in", 0))
        return counts | {
            "name": node.name, "op": op, "runs": node.op, "shape": node.shape, "fields": fields,
            "inputs": list(node.inputs), "uses": sorted(set(node.uses.values())), "face": node.face,
            "recipe": node.recipe, "description": doc, "quarantined": quarantined,
            "seconds": done.seconds, "cpu_seconds": done.cpu_seconds, "computed_rows": computed,
            "cached_rows": counts.get("rows_in", 0) - computed, "rounds": self.driver.rounds.get(node.name),
            "key": node.key, "store_bytes": done.bytes,
            "peak_memory_bytes": done.peak_memory_bytes or None, "tells": self._tells(node),
        }  # fmt: skip

    def _tells(self, node: Node) -> str | None:
        """What the operator says of its artifact."""
        operator = node.build()
        if not isinstance(operator, Telling):
            return None
        return operator.tell(self.store.get_artifact(artifact_name(node.key)))

    def _asked(self, node: Node) -> tuple[str, dict[str, Any], OpSpec]:
        """What the config asked for under this name: the recipe, where the node is a recipe's face."""
        asked = next((n for n in self.config.nodes if n.name == node.name and node.face), None)
        return (asked.op, asked.fields, asked.spec) if asked else (node.op, node.fields, node.spec)

    def _train(self, engine: Engine) -> dict[str, Any] | None:
        if self.config.train is None:
            return None
        from pipeline.train import train

        return train(self, engine, self.config.train)

    def _close(self, found: dict[str, Any], engine: Engine) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found |= {
            "run": self.ledger.run_id,
            "name": self.config.file.stem,
            "config": self.config.text,
            "sets": list(self.config.sets),
            "manifests": self.saved,
            "pins": self.pins,
            "started": datetime.fromtimestamp(self.began, UTC).isoformat(timespec="seconds"),
            "seconds": time.time() - self.began,
            "cpu_seconds": time.process_time() - self.cpu_began,
            "peak_memory_bytes": peak,
            "engine": engine.name,
            "workers": engine.workers,
            "memory": engine.memory,
            "fetched_bytes": engine.fetched_bytes,
            "disk": disk_use(
                self.store,
                {node.key for node in self.graph.nodes.values()},
                sum(done.bytes for done in self.work.values()),
            ),
            "version": package_version(),
            "status": "done",
        }
        self.ledger.finish(found)


def _score(
    name: str, context: books.Books, total: Mapping[str, Any], counts: Mapping[str, Any]
) -> dict[str, Any]:
    score = dict(total["scores"][name])
    sums = score.pop("sum")
    none = {"counts": [0] * books.BINS, "kept": [0] * books.BINS}
    edges = context.edges.get(name, [0.0] * (books.BINS + 1))
    mean = float(sums / score["count"]) if score["count"] else None
    column = context.scores[name]
    return (
        {"column": name, "node": column.node, "type": str(column.dtype), "mean": mean, "edges": edges}
        | score
        | (counts.get(name, none))
    )


def _convert(store: Store, task: ConvertTask) -> None:
    ingest.convert(store, task)


def package_version() -> str:
    try:
        return version("tamis")
    except PackageNotFoundError:
        return "unknown"


def run(config: Config, options: RunOptions, progress: Progress) -> dict[str, Any]:
    """Run a config; the run data (see pipeline/report.py for its use). Raises TamisError."""
    memory = options.memory or config.memory
    with (
        closing(make_engine(options.engine, options.workers, options.address, memory)) as engine,
        metered(config.file.stem, engine.name, options.metrics),
    ):
        state = Run(config, options, progress, engine)
        try:
            return state.go(engine)
        except BaseException as error:
            state.ledger.fail(error)
            if state.redact and isinstance(error, Exception) and exit_code(error) in (1, 3):
                # The message may quote documents, and whoever catches it would print it.
                if isinstance(error, TooMuchDropped):
                    raise TooMuchDropped(brief(error), error.node) from None
                raise DataError(brief(error)) from None
            raise
