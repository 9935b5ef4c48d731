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


def emit(store: Store, shards: list[list[tuple[int, int, int]]], with_key2: bool) -> list[str]:
    """Each shard's messages in a file of its own, two from every row; the names of the files."""
    names = []
    for number, sent in enumerate(shards):
        box = Outbox(Ranked())
        rows = np.arange(len(sent), dtype=np.uint32)
        key = np.array([m[0] for m in sent], np.uint64)
        key2 = np.array([m[1] for m in sent], np.uint64) if with_key2 else None
        rank = pa.array([m[2] for m in sent], pa.int32())
        emission = c.Emission(np.arange(len(sent)) // 2, key, {"rank": rank}, key2)
        box.add(rows, 1000 * number, emission)
        names.append("emit/" + box.seal(store, f"emit/{number}.json", "emit")["messages"])
    return names


@settings(max_examples=60)
@given(SHARDS, st.booleans(), st.integers(1, 5), st.integers(1, 3))
def test_a_merge_with_any_budget_equals_one_sort(
    tmp_path_factory: pytest.TempPathFactory,
    shards: list[list[tuple[int, int, int]]],
    with_key2: bool,
    chunk: int,
    parts: int,
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    with patch.object(messages, "CHUNK_ROWS", chunk), patch.object(messages, "LEAST_ROWS", 1):
        names = emit(store, shards, with_key2)
        bounds = [messages.RANGES * i // parts for i in range(parts + 1)]
        batches = [
            batch
            for low, high in pairwise(bounds)
            for batch in merge(open_runs(store, names, low, high), Ranked(), budget_rows=chunk)
        ]
    assert all(0 < batch.num_rows <= chunk for batch in batches)
    got = [
        (row["key"], row["key2"], row["rank"], row["uid"], row["home"])
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
        names = emit(store, [[(0, 0, i) for i in range(6)]], with_key2=False)
        stream = merge(open_runs(store, names, 0, messages.RANGES), Ranked(), 2)
        with pytest.raises(ValueError, match=said):
            list(shuffle._answers(Forgetful(way=way), stream))
