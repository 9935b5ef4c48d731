"""The laws about runs: rows, cut, engines, retry. Each returns what was tried or raises BrokenLaw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from operators.contract import FoldOp
from pipeline.engine import Engine
from pipeline.law_bench import Bench, BrokenLaw, Outcome, Trial
from pipeline.law_compare import Given, compare, differing, given
from pipeline.law_corpus import ROWS
from pipeline.law_direct import Case, Recorder, tried
from pipeline.law_zombie import ZombieEngine
from pipeline.nodes import SIZE
from pipeline.view import ShardView

# Files, rows a batch, workers, bytes of memory for each; the second for the first example only.
CUTS = ((5, 7, 2, 1 << 18), (8, 1, 1, None))
ENGINE_FILES, ENGINE_BATCH = 3, 7


Found = dict[str, dict[str, Given] | Exception]  # trial -> what its nodes gave on some engine


@dataclass
class Subject:
    """What the laws are tried on: an operator with the fields of one example, and what it gave."""

    trial: Trial
    bench: Bench
    recorders: list[Recorder] = field(default_factory=list)

    @cached_property
    def base(self) -> Outcome:
        """The run with which all others are compared: one file, one batch, one thread."""
        return self.run(1, wrap=self._recorded)

    def _recorded(self, engine: Engine) -> Engine:
        self.recorders.append(Recorder(engine))
        return self.recorders[0]

    @cached_property
    def given(self) -> dict[str, Given]:
        """What its nodes gave."""
        return given(self.base)

    @property
    def cases(self) -> list[Case]:
        """Its nodes, two rounds of its loops among them, each with the rows that it got."""
        assert self.base.done
        return list(self.recorders[0].cases.values())

    def run(self, files: int, **how: Any) -> Outcome:
        """A run over the corpus in so many files."""
        settings = ", ".join(f"{k} {v}" for k, v in how.items() if isinstance(v, int | str))
        what = f"a run over {files} files{f' ({settings})' if settings else ''}"
        with tried(what, type(self.trial.operator)):
            return self.bench.run_local([self.trial], self.bench.corpus([self.trial], files), **how)


def rows(subject: Subject) -> str:
    """Law 1: as many rows out as in, in order; who is dropped has a reason; the books balance."""
    outcome = subject.base
    for node in outcome.nodes.values():
        if not node.adds or node.data:
            continue
        view = ShardView(outcome.store, outcome.manifest, 0)
        have = view.table(node.key, node.positional)["row"].to_pylist()
        want = np.flatnonzero(view.alive(node.alive)).tolist()
        if have != want:
            raise BrokenLaw(
                f"{node.name} ({node.op}) gave {len(have)} rows, but got {len(want)}, or out of order"
            )
    with tried("booking the rows", type(subject.trial.operator)):
        total = outcome.books(subject.trial.name)
    reasons = {r for counts in total["nodes"].values() for r in counts["dropped"]}
    if nameless := [r for r in reasons if not (r or "").strip()]:
        raise BrokenLaw(f"rows were dropped with the reason {nameless[0]!r}; every drop says why")
    for case in subject.cases:
        _reversed(case)
    return f"{total['kept']} of {ROWS} rows kept" + (
        f", reasons {', '.join(sorted(reasons))}" if reasons else ""
    )


def _reversed(case: Case) -> None:
    """Where rows meet nobody, the reversed batch gives the reversed columns, and so does a slice."""
    if not case.by_row or not case.batch.num_rows:
        return
    order = pa.array(np.arange(case.batch.num_rows)[::-1].copy())
    with case.tried("a batch in reversed order"):
        whole, turned = case.answer(case.batch), case.answer(case.batch.take(order))
        case.agree({n: c.take(order) for n, c in whole.items()}, turned, "the batch and the reversed one")
    with case.tried("a slice of a batch"):
        part = case.answer(case.batch.slice(3, 20))
        case.agree({n: c.slice(3, 20) for n, c in whole.items()}, part, "rows 3 to 23 of a batch and alone")


def cut(subject: Subject) -> str:
    """Law 2: the same result however rows are cut into files, shards and batches, by how many workers, and
    with how much memory; summaries of parts merge in any order to the same bytes."""
    for case in subject.cases:
        if isinstance(case.op, FoldOp):
            _merges(case, case.op)
    for files, batch_rows, workers, memory in CUTS if subject.trial.number == 0 else CUTS[:1]:
        names = ("1 file", f"{files} files in batches of {batch_rows}, {workers} workers")
        names = (names[0], f"{names[1]} of {memory} bytes") if memory else names
        outcome = subject.run(files, batch_rows=batch_rows, workers=workers, memory=memory)
        compare(subject.given, given(outcome), names)
    return "1 to 8 files; batches of 1, 7 and all rows; 1 and 2 workers; 256 KiB and all memory"


def _merges(case: Case, op: FoldOp) -> None:
    n = case.batch.num_rows
    with case.tried("parts of a batch, folded and merged"):
        parts = [
            case.batch.slice(low, high - low) for low, high in ((0, n // 3), (n // 3, n // 2), (n // 2, n))
        ]
        a, b, c = (op.fold(part, case.uses) for part in parts)
        nothing, whole = op.fold(case.batch.slice(0, 0), case.uses), op.fold(case.batch, case.uses)
        left, right = op.merge(op.merge(a, b), c), op.merge(a, op.merge(b, c))
        turned, padded = op.merge(c, op.merge(b, a)), op.merge(nothing, whole)
    for other, what in (
        (right, "a+(b+c)"),
        (turned, "c+(b+a)"),
        (whole, "all at once"),
        (padded, "nothing+all"),
    ):
        if difference := differing(left, other):
            raise BrokenLaw(f"{case.name}: the summaries (a+b)+c and {what} differ: {difference}")
    size = sum(np.asarray(array).nbytes for array in whole.values())
    if size > op.state_bytes:
        raise BrokenLaw(
            f"{case.name}: a summary has {size} bytes, state_bytes promises {op.state_bytes} at most"
        )


def agrees(subject: Subject, found: dict[str, Given] | Exception, engine: str) -> str:
    """Law 3: another engine gave what the local one gives."""
    if isinstance(found, Exception):
        raise BrokenLaw(f"on {engine}: {type(found).__name__}: {found}") from found
    compare(subject.given, found, ("local", engine))
    return f"local and {engine}, {ENGINE_FILES} files in batches of {ENGINE_BATCH}"


def on_engine(bench: Bench, some: Sequence[Trial], engine: Engine) -> Found:
    """Trial -> what its nodes gave on this engine, or why they gave nothing."""
    found: Found = {}
    for group in _groups(bench, some):
        found |= _group_on_engine(bench, group, engine)
    return found


def _group_on_engine(bench: Bench, some: Sequence[Trial], engine: Engine) -> Found:
    """All trials in one run; one by one where that fails."""
    try:
        got = given(bench.run(some, engine, bench.corpus(some, ENGINE_FILES), ENGINE_BATCH))
    except Exception as error:
        if len(some) == 1:
            return {some[0].name: error}
        return {name: one for trial in some for name, one in _group_on_engine(bench, [trial], engine).items()}
    return {t.name: {n: g for n, g in got.items() if n.split("/")[0] == t.name} for t in some}


def _groups(bench: Bench, some: Sequence[Trial]) -> list[list[Trial]]:
    """The trials in as few groups as have no value in common, so that each computes its own."""
    groups: list[tuple[set[str], list[Trial]]] = []
    store, source = bench.store(), bench.corpus(some, ENGINE_FILES)
    for trial in some:
        nodes = bench.graph(bench.config([trial], source), store).nodes
        mine = {node.key for name, node in nodes.items() if name != SIZE}
        keys, group = next((g for g in groups if not g[0] & mine), (set(), []))
        if not group:
            groups.append((keys, group))
        keys |= mine
        group.append(trial)
    return [group for _, group in groups]


def retry(subject: Subject) -> str:
    """Law 4: a second run finds everything and writes nothing; of two attempts of a task with other
    bytes the first commit wins, and every reader agrees."""
    outcome = subject.base
    before = _bytes(outcome)
    again = subject.run(1, store=outcome.store)
    if busy := [name for name, done in again.done.items() if done.rows]:
        raise BrokenLaw(f"{busy[0]} computed {again.done[busy[0]].rows} rows again that the store has")
    after = _bytes(outcome)
    if changed := sorted(name for name in before | after if before.get(name) != after.get(name)):
        raise BrokenLaw(f"a second run changed {changed[0]} in the store, and {len(changed) - 1} other files")
    doubles: list[ZombieEngine] = []

    def double(engine: Engine) -> Engine:
        doubles.append(ZombieEngine(engine))
        return doubles[0]

    compare(subject.given, given(subject.run(2, wrap=double)), ("single attempts", "zombie attempts"))
    return f"a second run computed nothing; {doubles[0].zombies} zombies lost"


def _bytes(outcome: Outcome) -> dict[str, str]:
    store = outcome.store
    return {name: hashlib.blake2b(store.read(name)).hexdigest() for name in store.list("nodes")}
