"""Two attempts of one task that give different bytes: one wins, whole, and what reads it is consistent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from whole_runs import documents, write_config, write_cut

from pipeline import messages, shuffle, tasks
from pipeline.compute import commit
from pipeline.config import load_config
from pipeline.graph import Graph
from pipeline.manifest import Manifest
from pipeline.nodes import Node
from pipeline.prepare import RunOptions, manifests
from pipeline.store import Store
from pipeline.view import ShardView

# Each operator waits until both attempts are inside it, then stamps what it gives with its own attempt.
HEAD = """
from __future__ import annotations

import itertools
import threading

import numpy as np
import pyarrow as pa

from operators import contract as c

BOTH = threading.Barrier(2, timeout=60)
ATTEMPT = threading.local()
NUMBERS = itertools.cycle((1, 2))


def attempt():
    if not hasattr(ATTEMPT, "number"):
        BOTH.wait()
        ATTEMPT.number = next(NUMBERS)
    return ATTEMPT.number


def stamps(count):
    return pa.array(np.full(count, attempt(), np.int64))
"""
OPERATORS = {
    "stamp_map": """
class StampMap(c.MapOp):
    "Adds the number of the attempt."
    reads = property(lambda self: {"text": c.TEXT})
    adds = property(lambda self: {"by": pa.int64()})

    def columns(self, batch, uses):
        return {"by": stamps(batch.num_rows)}
""",
    "stamp_score": """
class StampScore(c.ScoreOp):
    "Adds the number of the attempt."
    reads = property(lambda self: {"text": c.TEXT})
    adds = property(lambda self: {"by": pa.float64()})

    def load(self, device):
        return None

    def prepare(self, batch, model):
        return batch

    def columns(self, batch, model):
        return {"by": stamps(batch.num_rows).cast(pa.float64())}
""",
    "stamp_fold": """
class StampFold(c.FoldOp):
    "Sums the numbers of the attempts."
    reads = property(lambda self: {"uid": pa.int64()})
    adds = property(lambda self: {})
    state_bytes = property(lambda self: 8)

    def fold(self, batch, uses):
        return {"by": np.full(4, attempt() if batch.num_rows else 0)}

    def merge(self, a, b):
        return {"by": a["by"] + b["by"]}

    def finish(self, state, uses):
        return state

    def columns(self, batch, state):
        raise AssertionError
""",
    "stamp_shuffle": """
class StampShuffle(c.ShuffleOp):
    "Every message carries who emitted it; every reply who answered it. The attempts emit other keys."
    reads = property(lambda self: {"uid": pa.int64()})
    adds = property(lambda self: {"sent": pa.int64(), "answered": pa.large_string()})
    emits = property(lambda self: {"by": pa.int64()})
    replies = property(lambda self: {"sent": pa.int64(), "answered": pa.large_string()})

    def emit(self, batch, uses):
        who = attempt()
        rows = np.repeat(np.arange(batch.num_rows), who)  # more messages the later the attempt
        return c.Emission(rows, rows.astype(np.uint64) * np.uint64(who), {"by": stamps(len(rows))})

    def reply(self, messages):
        for batch in messages:
            text = str(attempt()) * (1000 * attempt() ** 3)  # the later the attempt, the longer its replies
            yield {"sent": batch.column("by"),
                   "answered": pa.array([text] * batch.num_rows, pa.large_string())}

    def columns(self, batch, replies):
        first = np.unique(replies.column("row").to_numpy(), return_index=True)[1]
        return {n: replies.column(n).take(pa.array(first)) for n in ("sent", "answered")}
""",
}


class World:
    """One operator over two shards, its tasks at hand."""

    def __init__(self, folder: Path, op: str) -> None:
        write_cut(folder / "in", documents([f"text {i}" for i in range(40)]), files=2)
        (folder / f"{op}.py").write_text(HEAD + OPERATORS[op])
        text = f"source: {{path: in, shard_bytes: 1}}\nnodes: {{stamp: {{op: ./{op}.py}}}}\n"
        config = load_config(write_config(folder, text))
        self.store = Store(str(folder / ".tamis"))
        found = manifests(config, self.store, RunOptions(), lambda _: None)
        self.manifest: Manifest = found[""]
        self.node: Node = Graph(config, found).build()["stamp"]

    def scan(self, role: str, index: int = 0) -> Any:
        return tasks.scan(tasks.Scan(self.store, self.manifest, (tasks.Job(self.node, role, 10),)), index)

    def column(self, name: str, index: int = 0) -> list[Any]:
        view = ShardView(self.store, self.manifest, index)
        table = view.table(self.node.key, self.node.positional)
        assert table["row"].to_pylist() == list(range(20))
        values: list[Any] = table[name].to_pylist()
        return values


def twice(task: Callable[[], Any]) -> None:
    """Two attempts at the same time, each in a thread of its own."""
    with ThreadPoolExecutor(2) as pool:
        for attempt in [pool.submit(task), pool.submit(task)]:
            attempt.result()


def test_of_two_maps_one_wins_whole(tmp_path: Path) -> None:
    world = World(tmp_path, "stamp_map")
    twice(lambda: world.scan("columns"))
    assert world.column("by") in ([1] * 20, [2] * 20)
    assert len(ShardView(world.store, world.manifest, 0).records(world.node.key, world.node.positional)) == 1


def test_of_two_scores_one_wins_whole(tmp_path: Path) -> None:
    world = World(tmp_path, "stamp_score")
    context = tasks.Scoring(world.store, world.manifest, world.node, "cpu", 10)
    twice(lambda: tasks.score(tasks.Loaded(None), context, (0, 0)))
    assert world.column("by") in ([1.0] * 20, [2.0] * 20)
    assert tasks.score(tasks.Loaded(None), context, (0, 0)).rows == 0


def test_of_two_partial_folds_one_wins_and_the_artifact_is_made_of_it(tmp_path: Path) -> None:
    world = World(tmp_path, "stamp_fold")
    twice(lambda: world.scan("fold", 0))
    name = tasks.partial_name(world.node, "fold", 0)
    won = world.store.get_artifact(name)["by"]
    assert won.tolist() in ([2] * 4, [4] * 4)  # two batches of ten
    context = tasks.Merge(world.store, world.node)
    tasks.finish_fold(context, name)
    artifact = world.store.get_artifact(tasks.artifact_name(world.node.key))["by"]
    np.testing.assert_array_equal(artifact, won)


def test_a_fragment_that_lost_to_one_with_fewer_rows_still_brings_the_others(tmp_path: Path) -> None:
    world = World(tmp_path, "stamp_map")

    def attempt(rows: list[int], by: int) -> None:
        part = {"row": pa.array(rows, pa.uint32()), "by": pa.array([by] * len(rows), pa.int64())}
        view = ShardView(world.store, world.manifest, 0)
        commit(view, world.node, np.array(rows, np.uint32), [pa.RecordBatch.from_pydict(part)])

    attempt([0, 2, 5], by=1)
    attempt([0, 2, 3, 5, 7], by=2)
    attempt([0, 2, 3, 5, 7], by=3)
    table = ShardView(world.store, world.manifest, 0).table(world.node.key, world.node.positional)
    assert table.to_pydict() == {"row": [0, 2, 3, 5, 7], "by": [1, 1, 2, 1, 2]}


def test_of_two_artifacts_one_wins_whole(tmp_path: Path) -> None:
    store, start = Store(str(tmp_path)), threading.Barrier(8)

    def put(number: int) -> bool:
        start.wait()
        return store.put_artifact(
            "nodes/k/artifact.json", {"a": np.full(1000, number), "b": np.array(number)}
        )

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))
    assert won.count(True) == 1
    found = store.get_artifact("nodes/k/artifact.json")
    assert set(found["a"].tolist()) == {int(found["b"])} == {won.index(True)}


@pytest.fixture
def emitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[World, shuffle.Shuffle]:
    """Two attempts to emit, and what is needed to reduce; longer replies lie in more segments."""
    monkeypatch.setattr(messages, "CHUNK_ROWS", 8)
    monkeypatch.setattr(messages, "RUN_MESSAGES", 20)
    monkeypatch.setattr(shuffle, "SEGMENT_BYTES", 30_000)
    world = World(tmp_path, "stamp_shuffle")
    twice(lambda: [world.scan("emit", i) for i in (0, 1)])
    records = [world.store.record(tasks.partial_name(world.node, "emit", i)) for i in (0, 1)]
    names = tuple(messages.message_files(world.node.key, r) for r in records if r is not None)
    return world, shuffle.Shuffle(world.store, world.manifest, world.node, names, shuffle.bounds_for(1), 24)


def check_shuffled(world: World, context: shuffle.Shuffle) -> None:
    """Each shard has one attempt's messages, all rows one attempt's replies."""
    twice(lambda: [shuffle.home(context, i) for i in (0, 1)])
    for index in (0, 1):
        assert len(set(world.column("sent", index))) == 1
    assert len({text for index in (0, 1) for text in world.column("answered", index)}) == 1


def test_of_two_shuffles_one_wins_in_every_stage(emitted: tuple[World, shuffle.Shuffle]) -> None:
    world, context = emitted
    twice(lambda: shuffle.reduce(context, 0))
    check_shuffled(world, context)


def test_a_reducer_that_died_before_its_commit_leaves_nothing_that_counts(
    emitted: tuple[World, shuffle.Shuffle],
) -> None:
    world, context = emitted
    commit = Store.commit_record

    def die(store: Store, rel: str, record: dict[str, Any]) -> bool:
        if "/reply/" in rel and rel.endswith(".json") and not died:
            died.append(rel)
            raise KeyboardInterrupt
        return commit(store, rel, record)

    died: list[str] = []
    with patch.object(Store, "commit_record", die), pytest.raises(KeyboardInterrupt):
        twice(lambda: shuffle.reduce(context, 0))
    assert died
    check_shuffled(world, context)
