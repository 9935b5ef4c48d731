"""Runs operators with the fields of their examples over any cut of the hostile corpus, on any engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from operators.contract import ColumnOp, Kind, LoopOp, Operator, Part, Recipe
from pipeline import books, ingest
from pipeline.catalog import OpSpec, find, names
from pipeline.config import Config, NodeConfig, SourceConfig
from pipeline.drive import Driver, run_phases
from pipeline.engine import Engine, Resources, make_engine
from pipeline.errors import ConfigError
from pipeline.graph import Graph
from pipeline.guard import ALL
from pipeline.ingest import ConvertTask
from pipeline.law_corpus import corpus, with_columns, write
from pipeline.manifest import Manifest
from pipeline.nodes import MAIN, SIZE, Node
from pipeline.prepare import RunOptions, manifests
from pipeline.store import Store
from pipeline.tasks import Done

BATCH_ROWS = 4096


class BrokenLaw(Exception):
    """What an operator does that it must not do, told to its author."""


@dataclass(frozen=True)
class Trial:
    """An operator with the fields of one of its examples. base: from where paths are seen."""

    spec: OpSpec
    fields: Mapping[str, Any]
    base: Path
    number: int = 0

    @property
    def name(self) -> str:
        """What its node is called."""
        return f"{self.spec.name}_{self.number}"

    @property
    def op(self) -> str:
        """How a config names the operator."""
        return self.spec.name if self.spec.source is None else self.spec.path

    @cached_property
    def operator(self) -> Operator:
        """The operator; ConfigError when the fields are not valid."""
        return self.spec.build(dict(self.fields))

    @cached_property
    def body(self) -> tuple[tuple[Part, Operator], ...]:
        """The parts of a recipe or of a loop's first two rounds, the parts of these included."""
        return tuple(_body(self.operator, self.base))

    def inner(self) -> str:
        """Why the operator cannot be a node of its own; empty when it can."""
        made = {part.name for part, _ in self.body}
        reads = list(self.operator.reads) if isinstance(self.operator, ColumnOp) else []
        mine = [] if isinstance(self.operator, LoopOp) else [n for n in reads if n.startswith("last.")]
        reads += [name for _, op in self.body if isinstance(op, ColumnOp) for name in op.reads]
        mine += [n for n in reads if n.startswith("/") and n[1:].rpartition(".")[0] not in made]
        if mine:
            return f"it reads {mine[0]} of the recipe around it"
        giver = _given_artifacts().get(self.spec.name) if self.spec.source is None else None
        return f"{giver} gives it artifacts" if giver else ""

    def reads(self) -> dict[str, pa.DataType | Kind]:
        """The columns that must come from the source."""
        found: dict[str, pa.DataType | Kind] = {}
        made = set(OpSpec("size").build({}).adds)  # type: ignore[attr-defined]
        for op in [self.operator, *(op for _, op in self.body)]:
            if isinstance(op, ColumnOp):
                found |= {
                    n: k for n, k in op.reads.items() if not n.startswith(("/", "last.")) and n not in made
                }
                made |= set(op.adds)
        return found


def _body(operator: Operator, base: Path) -> Iterator[tuple[Part, Operator]]:
    parts = operator.parts() if isinstance(operator, Recipe) else []
    if isinstance(operator, LoopOp):
        parts = list({part.name: part for part in operator.step(1) + operator.step(0)}.values())
    for part in parts:
        made = find(part.op, base).build(part.fields)
        yield part, made
        yield from _body(made, base)


@cache
def _given_artifacts() -> dict[str, str]:
    """The operators to which a recipe of this package gives artifacts -> that recipe."""
    found: dict[str, str] = {}
    for name in names():
        try:
            examples = OpSpec(name).cls().examples
        except ConfigError:  # an extra that is not installed
            continue
        for fields in examples:
            operator, _ = OpSpec(name).check(dict(fields))
            parts = operator.parts() if isinstance(operator, Recipe) else []
            found |= {part.op: name for part in parts if part.uses}
    return found


def trials(spec: OpSpec, base: Path) -> list[Trial]:
    """One trial for each example."""
    return [Trial(spec, fields, base, number) for number, fields in enumerate(spec.cls().examples)]


@dataclass
class Outcome:
    """What a run left: the graph with all its nodes, a loop's rounds among them, and the store."""

    graph: Graph
    driver: Driver
    store: Store
    done: dict[str, Done] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        return self.graph.manifests[MAIN]

    @property
    def nodes(self) -> dict[str, Node]:
        """The nodes that a plan would show: no rounds."""
        return {n: node for n, node in self.graph.nodes.items() if "@" not in n and n != SIZE}

    def books(self, name: str) -> dict[str, Any]:
        """The books of the run, balanced, with the node `name` as the end of it."""
        sink = self.graph.nodes[name].after
        context = books.books_for(self.graph, self.manifest, self.store, sink)
        total = books.add_up(books.tally(context, i) for i in range(len(self.manifest.shards)))
        books.balance(total, self.manifest.rows)
        return total


class Bench:
    """A folder with the corpus in several cuts, and stores beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stores = 0

    def store(self) -> Store:
        """A new store."""
        self._stores += 1
        return Store(str(self.folder / f"store-{self._stores}"))

    def source(self, table: pa.Table, files: int, name: str) -> Path:
        """A folder with the table in so many files."""
        folder = self.folder / f"{name}-{files}"
        return folder if folder.exists() else write(table, folder, files)

    def corpus(self, some: Sequence[Trial], files: int) -> Path:
        """The corpus with all columns that the trials read, in so many files."""
        wanted: dict[str, pa.DataType | Kind] = {}
        for trial in some:
            wanted |= trial.reads()
        table, made = with_columns(corpus(), wanted)
        return self.source(table, files, "-".join(["corpus", *sorted(n.replace("/", "_") for n in made)]))

    def config(self, some: Sequence[Trial], source: Path) -> Config:
        """Every trial as a node of its own over this source; each file is a shard."""
        nodes = tuple(
            NodeConfig(t.name, t.op, t.spec, ("source",), "all", {}, dict(t.fields), Resources(), "stop", 1)
            for t in some
        )
        read = SourceConfig(path=f"{source}/*.parquet", id="id", shard_bytes=1)
        return Config(some[0].base / "laws.yaml", "", {MAIN: read}, nodes, (), None)

    def graph(self, config: Config, store: Store) -> Graph:
        """The config's nodes, with the manifests that they are bound to."""

        def convert(tasks: list[ConvertTask]) -> None:
            for task in tasks:
                ingest.convert(store, task)

        graph = Graph(config, manifests(config, store, RunOptions(allow=(ALL,)), convert))
        graph.build()
        return graph

    def run(
        self,
        some: Sequence[Trial],
        engine: Engine,
        source: Path,
        batch_rows: int = BATCH_ROWS,
        store: Store | None = None,
    ) -> Outcome:
        """Run the trials together."""
        place = store or self.store()
        graph = self.graph(self.config(some, source), place)
        engine.check_store(place)
        outcome = Outcome(graph, Driver(graph, place, engine, "cpu", batch_rows), place)

        def learn(node: Node, done: Done, which: dict[str, Any]) -> None:
            outcome.done.setdefault(node.name, Done()).rows += done.rows

        run_phases(outcome.driver, list(graph.nodes.values()), learn)
        return outcome

    def run_local(
        self, some: Sequence[Trial], source: Path, batch_rows: int = BATCH_ROWS, workers: int = 1,
        wrap: Callable[[Engine], Engine] = lambda engine: engine, store: Store | None = None,
        memory: int | None = None,
    ) -> Outcome:  # fmt: skip
        """Run the trials together in this process."""
        engine = make_engine("local", workers, memory=memory)
        try:
            return self.run(some, wrap(engine), source, batch_rows, store)
        finally:
            engine.close()
