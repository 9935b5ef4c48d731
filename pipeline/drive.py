"""How each shape of operator runs: the phases that the driver sends to the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from operators.contract import LoopOp
from pipeline import guard, shuffle, tasks
from pipeline.books import group_column
from pipeline.engine import Engine
from pipeline.errors import DataError
from pipeline.export import cut_files
from pipeline.graph import Graph
from pipeline.manifest import Manifest
from pipeline.messages import message_files
from pipeline.nodes import Node, Scope, Wish
from pipeline.store import Store
from pipeline.tasks import Done
from pipeline.view import ShardView

MERGE_FAN_IN = 16
MAX_ROUNDS = 10_000


@dataclass(frozen=True)
class ScanPhase:
    """One node's wish for a pass over the shards; nodes that wish for one together get one."""

    node: Node
    role: str


@dataclass(frozen=True)
class TaskPhase:
    """Tasks of one node; they return Done, unless `answers` collects something else."""

    node: Node
    fn: Callable[..., Any]
    context: Any
    tasks: Sequence[Any]
    model: bool = False
    answers: list[Any] | None = None  # where results go that are no account of work done


Phase = ScanPhase | TaskPhase
# Told of every task that ends: its node, its work, and what of the node it was (step; shard or part).
Learn = Callable[[Node, Done, dict[str, Any]], None]
BY_SHARD = {tasks.blocks.__name__, shuffle.home.__name__, guard.tally.__name__}
Phases = Generator[Phase, None, None]


class Driver:
    """Turns nodes into phases; knows the store and the sources, not the engine's kind."""

    def __init__(
        self, graph: Graph, store: Store, engine: Engine, device: str, batch_rows: int,
        allow: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.graph, self.store, self.engine = graph, store, engine
        self.allow = allow  # nodes that may drop as much as they do, or `all`
        self.device, self.batch_rows = device, batch_rows
        self.rounds: dict[str, int] = {}
        # Scratch that is done with goes when all nodes are: another node of equal key may still read it.
        self.trash: list[str] = []

    def manifest(self, node: Node) -> Manifest:
        return self.graph.manifests[node.data]

    def rows_at_once(self, node: Node) -> int:
        return node.resources.batch or self.batch_rows

    def phases(self, node: Node) -> Phases:
        """What has to run for a node, in turn; then a look at how much of each source it dropped."""
        yield from self._work(node)
        if node.guard is not None and node.drops and not {node.name, guard.ALL} & set(self.allow):
            manifest = self.manifest(node)
            group = group_column(manifest)
            context = guard.Guarding(self.store, manifest, node, node.guard, group)
            found: list[Any] = []
            yield TaskPhase(node, guard.tally, context, range(len(manifest.shards)), answers=found)
            guard.check(context, found)

    def _work(self, node: Node) -> Phases:
        """What has to run for a node; nothing where the store has it all."""
        match node.shape:
            case "MapOp":
                yield ScanPhase(node, "columns")
            case "ScoreOp":
                yield from self._score(node)
            case "FoldOp":
                yield from self._fold(node)
            case "FitOp":
                yield from self._fit(node)
            case "ShuffleOp" | "ReduceOp":
                yield from self._shuffle(node)
            case "LoopOp":
                yield from self._loop(node)
            case shape:
                raise AssertionError(f"no way to run a {shape}")

    def _score(self, node: Node) -> Phases:
        context = self._scoring(node)
        found: list[list[tuple[int, int]]] = []
        shards = range(len(context.manifest.shards))
        yield TaskPhase(node, tasks.blocks, context, shards, answers=found)
        yield TaskPhase(node, tasks.score, context, sorted(b for some in found for b in some), model=True)

    def _scoring(self, node: Node) -> tasks.Scoring:
        device = node.resources.device or self.device
        rows = node.resources.batch or tasks.SCORE_ROWS
        return tasks.Scoring(self.store, self.manifest(node), node, device, rows)

    def _fold(self, node: Node) -> Phases:
        if not self.store.exists(tasks.artifact_name(node.key)):
            yield ScanPhase(node, "fold")
            context = tasks.Merge(self.store, node)
            names = [tasks.partial_name(node, "fold", i) for i in range(len(self.manifest(node).shards))]
            level = 0
            while len(names) > 1:
                groups = [tuple(names[i : i + MERGE_FAN_IN]) for i in range(0, len(names), MERGE_FAN_IN)]
                merges = [(f"nodes/{node.key}/fold/{level}-{i}.json", g) for i, g in enumerate(groups)]
                yield TaskPhase(node, tasks.merge_states, context, merges)
                names, level = [name for name, _ in merges], level + 1
            yield TaskPhase(node, tasks.finish_fold, context, names or [self._neutral(node)])
        self.trash.append(f"nodes/{node.key}/fold")
        if node.adds:
            yield ScanPhase(node, "columns")

    def _neutral(self, node: Node) -> str:
        """The summary of no rows at all, for a source without shards."""
        name = f"nodes/{node.key}/fold/none.json"
        columns = {c: pa.array([], column.dtype) for c, column in node.reads.items()}
        batch = pa.RecordBatch.from_pydict(columns or {"uid": pa.array([], pa.int64())})
        operator: Any = node.build()
        self.store.put_artifact(name, operator.fold(batch, tasks.load_uses(self.store, node)))
        return name

    def _fit(self, node: Node) -> Phases:
        if not self.store.exists(tasks.artifact_name(node.key)):
            yield TaskPhase(node, tasks.fit, self._scoring(node), [0])
        if node.adds:
            yield ScanPhase(node, "columns")

    def _shuffle(self, node: Node) -> Phases:
        manifest = self.manifest(node)
        shards = range(len(manifest.shards))
        homes = [i for i in shards if not self._has_columns(node, i)]
        if homes:
            yield from self._exchange(node, manifest, homes)
        # Also what a killed run left: the columns are there, nobody needs the messages any more.
        self.trash += [f"nodes/{node.key}/emit", f"nodes/{node.key}/reply"]

    def _exchange(self, node: Node, manifest: Manifest, homes: Sequence[int]) -> Phases:
        """Messages out, answers back, for the shards that have no columns yet."""
        shards = range(len(manifest.shards))
        yield ScanPhase(node, "emit")
        records = [self.store.record(tasks.partial_name(node, "emit", i)) for i in shards]
        emitted = [r for r in records if r is not None]
        assert len(emitted) == len(shards), f"{node.name}: a shard's messages are missing"
        size = sum(int(r["payload_bytes"]) for r in emitted)
        messages = sum(int(r["rows"]) for r in emitted)
        context = shuffle.Shuffle(
            self.store,
            manifest,
            node,
            tuple(message_files(node.key, r) for r in emitted),
            shuffle.bounds_for(size),
            size // max(1, messages),
        )
        yield TaskPhase(node, shuffle.reduce, context, range(len(context.bounds) - 1))
        yield TaskPhase(node, shuffle.home, context, homes)

    def _has_columns(self, node: Node, index: int) -> bool:
        shard = self.manifest(node).shards[index]
        place = f"{shard.id}@{shard.base}" if node.positional else shard.id
        return any(name.endswith(".json") for name in self.store.list(f"nodes/{node.key}/{place}"))

    def _loop(self, node: Node) -> Phases:
        """Round after round until the operator says that it is done; then the loop's own columns."""
        if not self._complete(node):
            yield from self._rounds(node)
        self._forget_rounds(node)

    def _rounds(self, node: Node) -> Phases:
        operator = node.build()
        assert isinstance(operator, LoopOp)
        last: dict[str, str] = {}
        for number in range(MAX_ROUNDS):
            body = self._round(node, operator, number, last)
            for part in body:
                yield from self.phases(part)
            last = {part.name.rpartition("/")[2]: part.name for part in body}
            artifact = tasks.artifact_name(body[-1].key)
            self.rounds[node.name] = number + 1
            if operator.done(self.store.get_artifact(artifact), number):
                yield ScanPhase(self._closing(node, operator, last, body[-1]), "columns")
                return
        raise DataError(f"{node.name} ({node.op}) is not done after {MAX_ROUNDS} rounds")

    def _round(self, node: Node, operator: LoopOp, number: int, last: dict[str, str]) -> list[Node]:
        wish = Wish(node.name, node.op, resources=node.resources)
        scope = Scope(node.inputs, node.recipe, where=node.name)
        return self.graph.round(wish, scope, operator.step(number), number, last)

    def _forget_rounds(self, node: Node) -> None:
        """The rounds of a finished loop go, also those that a killed run left behind."""
        operator = node.build()
        assert isinstance(operator, LoopOp)
        last: dict[str, str] = {}
        bodies: list[list[Node]] = []
        for number in range(MAX_ROUNDS):
            bodies.append(self._round(node, operator, number, last))
            last = {part.name.rpartition("/")[2]: part.name for part in bodies[-1]}
            if not any(self.store.list(f"nodes/{part.key}") for part in bodies[-1]):
                break
        # The first round goes last: as long as it is there, a later run sees that others may be, too.
        for body in reversed(bodies):
            self.trash += [f"nodes/{part.key}" for part in body]

    def sweep(self) -> None:
        """Delete the scratch of finished nodes."""
        for folder in self.trash:
            self.store.delete(folder)
        self.trash.clear()

    def _closing(self, node: Node, operator: LoopOp, last: dict[str, str], tally: Node) -> Node:
        """The loop with what its last round gave bound to it."""
        reads = dict(node.reads)
        for name in operator.reads:
            if name.startswith("last."):
                part, _, column = name.removeprefix("last.").rpartition(".")
                reads[name] = self.graph.column_of(last[part], column)
        positional = node.positional or any(c.positional for c in reads.values())
        assert positional == node.positional, f"{node.name}: a loop must know its position beforehand"
        return replace(node, reads=reads, artifacts={**node.artifacts, "last": tally.key})

    def _complete(self, node: Node) -> bool:
        """Whether the store has every alive row's columns of a node."""
        manifest = self.manifest(node)
        for index in range(len(manifest.shards)):
            view = ShardView(self.store, manifest, index)
            if tasks.unscored(view, node).any():
                return False
        return True


def run_phases(
    driver: Driver,
    nodes: Sequence[Node],
    done: Learn,
    ended: Callable[[str], None] = lambda _: None,
) -> None:
    """Run nodes in dependency order; scans that are ready together share one pass over the shards.

    done: told of every task. ended: told of every node that is finished."""
    waiting = {node.name: node for node in nodes}
    running: dict[str, tuple[Phases, Phase]] = {}
    while waiting or running:
        for node in _startable(nodes, waiting.keys(), running.keys()):
            del waiting[node.name]
            _advance(running, node.name, driver.phases(node), ended)
        if not running:
            continue
        scans = {n: phase for n, (_, phase) in running.items() if isinstance(phase, ScanPhase)}
        turn = scans if scans else dict([next((n, phase) for n, (_, phase) in running.items())])
        for node, result, which in _results(driver, list(turn.values())):
            done(node, result, which)
        for name in turn:
            _advance(running, name, running.pop(name)[0], ended)
    driver.sweep()


def _startable(nodes: Sequence[Node], waiting: Collection[str], running: Collection[str]) -> list[Node]:
    """The waiting nodes that need nobody who is not done. Of scores with one key (two recipes that ask one
    model the same) one runs at a time: the next ones find its values in the store."""
    scoring = {node.key for node in nodes if node.name in running and node.shape == "ScoreOp"}
    found = []
    for node in nodes:
        if node.name in waiting and not node.needs & {*waiting, *running} and node.key not in scoring:
            found.append(node)
            scoring |= {node.key} if node.shape == "ScoreOp" else set()
    return found


def file_bounds(
    driver: Driver,
    node: str,
    file_bytes: int,
    done: Learn,
    ended: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[int, ...], int]:
    """Where an ordered export of a node's rows cuts its files, from the bytes in each part of the order; and
    the bytes in all."""
    made = driver.graph.add_order_bins(node)
    run_phases(driver, [made], done, ended)
    sizes = driver.store.get_artifact(tasks.artifact_name(made.key))["bytes"]
    return cut_files(sizes, file_bytes), int(sizes.sum())


def _advance(
    running: dict[str, tuple[Phases, Phase]], name: str, phases: Phases, ended: Callable[[str], None]
) -> None:
    phase = next(phases, None)
    if phase is not None:
        running[name] = (phases, phase)
    else:
        ended(name)


def _results(driver: Driver, turn: Sequence[Phase]) -> Iterator[tuple[Node, Done, dict[str, Any]]]:
    first = turn[0]
    if isinstance(first, TaskPhase):
        yield from _run_tasks(driver, first)
        return
    by_data: dict[str, list[ScanPhase]] = {}
    for phase in turn:
        assert isinstance(phase, ScanPhase)
        by_data.setdefault(phase.node.data, []).append(phase)
    for data, phases in by_data.items():
        jobs = tuple(tasks.Job(p.node, p.role, driver.rows_at_once(p.node)) for p in phases)
        nodes = {p.node.name: p.node for p in phases}
        roles = {p.node.name: p.role for p in phases}
        manifest = driver.graph.manifests[data]
        context = tasks.Scan(driver.store, manifest, jobs)
        for shard, results in driver.engine.run(tasks.scan, context, range(len(manifest.shards))):
            for name, result in results.items():
                yield nodes[name], result, {"step": roles[name], "shard": shard}


def _run_tasks(driver: Driver, phase: TaskPhase) -> Iterator[tuple[Node, Done, dict[str, Any]]]:
    if phase.model:
        if not phase.tasks:
            return
        resources = replace(phase.node.resources, device=phase.context.device)
        results = driver.engine.score(tasks.load_model, phase.fn, phase.context, phase.tasks, resources)
    else:
        results = driver.engine.run(phase.fn, phase.context, phase.tasks)
    for index, result in results:
        if phase.answers is None:
            yield phase.node, result, _which(phase, index)
        else:
            phase.answers.append(result)


def _which(phase: TaskPhase, index: int) -> dict[str, Any]:
    """What the task was of its node: of one shard, or a part of another division."""
    task, step = phase.tasks[index], phase.fn.__name__
    if phase.model:
        return {"step": step, "shard": task[0], "block": task[1]}
    return {"step": step, "shard": task} if step in BY_SHARD else {"step": step, "part": index}
