"""The streams of messages: merged in bounded memory as one sort of everything would have them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import contract as c
from operators.kernels.counter import mix64
from pipeline import messages, shuffle
from pipeline.messages import Outbox, merge, open_runs
from pipeline.store import Store


class Ranked(c.ShuffleOp):
    """Sends a rank, by which the messages of a key are ordered."""

    order = ("rank",)
    reads = property(lambda self: {"uid": pa.int64()})
    adds = property(lambda self: {})
    emits = property(lambda self: {"rank": pa.int32()})
    replies = property(lambda self: {})

    def emit(self, batch: pa.RecordBatch, uses: c.Uses) -> c.Emission:
        raise AssertionError

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[c.Columns]:
        raise AssertionError

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> c.Columns:
        raise AssertionError


KEYS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])  # few, so that keys straddle batches and shards
MESSAGE = st.tuples(KEYS, st.integers(0, 1), st.integers(-2, 2))  # key, key2, rank
SHARDS = st.lists(st.lists(MESSAGE, max_size=40), min_size=1, max_size=5)


def emit(store: Store, shards: list[list[tuple[int, int, int]]], with_key2: bool) -> list[tuple[str, int]]:
    """Each shard's messages, two from every row, five rows a batch: (file, shard) of every run."""
    runs = []
    for number, sent in enumerate(shards):
        box = Outbox(Ranked(), store, "nodes/n/emit")
        for start in range(0, len(sent), 10):
            some = sent[start : start + 10]
            rows = np.arange(start // 2, start // 2 + 5, dtype=np.uint32)
            key = np.array([m[0] for m in some], np.uint64)
            key2 = np.array([m[1] for m in some], np.uint64) if with_key2 else None
            rank = pa.array([m[2] for m in some], pa.int32())
            box.add(rows, 1000 * number, c.Emission(np.arange(len(some)) // 2, key, {"rank": rank}, key2))
        record = box.seal(store, f"nodes/n/emit/{number}.json")
        runs += [(file, number) for file in messages.message_files("n", record)]
    return runs


@settings(max_examples=60)
@given(SHARDS, st.booleans(), st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 15, 1000]))
def test_a_merge_with_any_budget_equals_one_sort(
    tmp_path_factory: pytest.TempPathFactory,
    shards: list[list[tuple[int, int, int]]],
    with_key2: bool,
    chunk: int,
    parts: int,
    run: int,
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    budgets = {"CHUNK_ROWS": chunk, "LEAST_ROWS": 1, "RUN_MESSAGES": run}
    with patch.multiple(messages, **budgets):
        runs = emit(store, shards, with_key2)
        bounds = [messages.RANGES * i // parts for i in range(parts + 1)]
        batches = [
            batch
            for low, high in pairwise(bounds)
            for batch in merge(open_runs(store, [n for n, _ in runs], low, high), Ranked(), budget_rows=chunk)
        ]
    assert all(0 < batch.num_rows <= chunk for batch in batches)
    got = [
        (row["key"], row.get("key2", 0), row["rank"], row["uid"], runs[row["home"]][1])
        for batch in batches
        for row in batch.to_pylist()
    ]
    sent = [
        (key, key2 if with_key2 else 0, rank, 1000 * number + i // 2, number)
        for number, shard in enumerate(shards)
        for i, (key, key2, rank) in enumerate(shard)
    ]
    mixed = {key: int(mix64(np.array([key], np.uint64))[0]) for key, *_ in sent}
    assert got == sorted(sent, key=lambda m: (mixed[m[0]], *m[1:]))


def test_a_merge_of_many_runs_sorts_each_message_about_once(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    keys = [random.integers(0, 2**63, size).tolist() for size in (400, 400, 200, 800, 400, 400, 30, 400)]
    store, order, counted = Store(str(tmp_path)), messages.message_order, []
    with patch.object(messages, "LEAST_ROWS", 8):
        names = [name for name, _ in emit(store, [[(key, 0, 0) for key in some] for some in keys], False)]
        runs = open_runs(store, names, 0, messages.RANGES)
        with patch.object(messages, "message_order", lambda b, o: counted.append(len(b)) or order(b, o)):
            given = sum(batch.num_rows for batch in merge(runs, Ranked(), budget_rows=800))
    assert given == sum(map(len, keys)) == 3030
    assert len(counted) > 3  # several rounds
    assert sum(counted) < 1.5 * given


class Forgetful(Ranked):
    """Breaks the contract of `reply` in two ways."""

    way: str
    replies = property(lambda self: {"rank": pa.int32()})

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[c.Columns]:
        first = next(messages)
        if self.way == "ends early":
            yield {"rank": first.column("rank")}
            return
        next(messages)
        yield {"rank": first.column("rank")}


@pytest.mark.parametrize(
    ("way", "said"), [("ends early", "before it had answered"), ("reads ahead", "then take the next")]
)
def test_a_reply_that_does_not_answer_every_batch_in_turn_is_an_error(
    tmp_path: Path, way: str, said: str
) -> None:
    store = Store(str(tmp_path))
    with patch.object(messages, "CHUNK_ROWS", 2):
        names = [name for name, _ in emit(store, [[(0, 0, i) for i in range(6)]], with_key2=False)]
        stream = merge(open_runs(store, names, 0, messages.RANGES), Ranked(), 2)
        with pytest.raises(ValueError, match=said):
            list(shuffle._answers(Forgetful(way=way), stream))
