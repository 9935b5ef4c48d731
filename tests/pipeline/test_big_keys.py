"""One key that holds half of all messages: the memory that a reducer needs does not grow with the rows."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from whole_runs import documents, write_config, write_cut

from operators.kernels.counter import mix64
from pipeline import messages, shuffle, tasks
from pipeline import store as stores
from pipeline.config import load_config
from pipeline.graph import Graph
from pipeline.prepare import RunOptions, manifests
from pipeline.store import Store
from pipeline.view import ShardView

SHARD_ROWS = 5_000
NUMBERING = '''
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ShuffleOp, Uses


class NumberRows(ShuffleOp):
    """Numbers the rows of each group, in the source's order, and names the group's first row."""

    @property
    def reads(self) -> Reads:
        return {"group": pa.int64(), "uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"number": pa.int64(), "first": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"payload": pa.int64()}

    @property
    def replies(self) -> Adds:
        return {"number": pa.int64(), "first": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        key = np.asarray(batch.column("group")).astype(np.uint64)
        return Emission(np.arange(len(key)), key, {"payload": batch.column("uid")})

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        last, seen, begun = None, 0, 0
        for batch in messages:
            key, uid = np.asarray(batch.column("key")), np.asarray(batch.column("payload"))
            number, first = np.empty(len(key), np.int64), np.empty(len(key), np.int64)
            starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
            for low, high in zip(starts, [*starts[1:], len(key)], strict=True):
                if key[low] != last:
                    last, seen, begun = key[low], 0, uid[low]
                number[low:high], first[low:high] = np.arange(seen, seen + high - low), begun
                seen += high - low
            yield {"number": pa.array(number), "first": pa.array(first)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        return {"number": replies.column("number"), "first": replies.column("first")}
'''


def groups(rows: int) -> np.ndarray:
    """Group 0 for half of all rows, groups of three for the others."""
    row = np.arange(rows)
    return np.where(mix64(row.astype(np.uint64)) % np.uint64(2) == 0, 0, row // 6 + 1)


def peak(work: Callable[[], object]) -> int:
    """Bytes that Arrow and numpy held at most at one time, beyond what they held before."""
    gc.collect()
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        work()
        return int(pool.max_memory()) + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


def shuffled(folder: Path, op: str, shards: int) -> tuple[dict[str, int], list[ShardView], str]:
    """Runs a shuffle over so many shards, a task at a time: (peak bytes of each stage, ...)."""
    rows = SHARD_ROWS * shards
    group = groups(rows)
    table = documents([f"text {g}" for g in group.tolist()], group=group)
    write_cut(folder / "in", table, files=shards)
    (folder / "number_rows.py").write_text(NUMBERING)
    config = load_config(
        write_config(folder, f"source: {{path: in, shard_bytes: 1}}\nnodes: {{n: {{op: {op}}}}}\n")
    )
    store = Store(str(folder / ".tamis"))
    found = manifests(config, store, RunOptions(), lambda _: None)
    node, manifest = Graph(config, found).build()["n"], found[""]
    scan = tasks.Scan(store, manifest, (tasks.Job(node, "emit", 4096),))
    peaks = {"emit": max(peak(lambda: tasks.scan(scan, i)) for i in range(shards))}  # noqa: B023
    records = [store.record(tasks.partial_name(node, "emit", i)) or {} for i in range(shards)]
    names = tuple(messages.message_files(node.key, r) for r in records)
    size = sum(int(r["payload_bytes"]) for r in records)
    context = shuffle.Shuffle(store, manifest, node, names, shuffle.bounds_for(size), 32)
    peaks["reduce"] = max(peak(lambda: shuffle.reduce(context, r)) for r in range(len(context.bounds) - 1))  # noqa: B023
    peaks["home"] = max(peak(lambda: shuffle.home(context, i)) for i in range(shards))  # noqa: B023
    views = [ShardView(store, manifest, i) for i in range(shards)]
    return peaks, views, node.key


@pytest.fixture(autouse=True)
def small_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that these few rows exceed many times."""
    monkeypatch.setattr(stores, "CHUNK_BYTES", 1 << 16)
    monkeypatch.setattr(messages, "CHUNK_ROWS", 512)
    monkeypatch.setattr(messages, "LEAST_ROWS", 64)
    monkeypatch.setattr(shuffle, "CHUNK_ROWS", 512)
    monkeypatch.setattr(shuffle, "REDUCE_BYTES", 1 << 15)
    monkeypatch.setattr(shuffle, "HELD_BYTES", 1 << 15)
    monkeypatch.setattr(shuffle, "SEGMENT_BYTES", 1 << 16)


def all_rows(views: list[ShardView], key: str, name: str) -> np.ndarray:
    return np.concatenate([np.asarray(v.table(key, positional=True)[name].combine_chunks()) for v in views])


@pytest.mark.parametrize("op", ["exact_dedup", "./number_rows.py"])
def test_memory_stays_when_the_rows_of_a_giant_key_are_four_times_as_many(tmp_path: Path, op: str) -> None:
    shuffled(tmp_path / "warm", op, 1)
    small, _, _ = shuffled(tmp_path / "small", op, 2)
    large, views, key = shuffled(tmp_path / "large", op, 8)

    for stage in small:
        assert large[stage] <= 1.3 * small[stage], (stage, small, large)
    check = check_copies if op == "exact_dedup" else check_numbers
    check(views, key, groups(8 * SHARD_ROWS))


def check_copies(views: list[ShardView], key: str, group: np.ndarray) -> None:
    first = np.unique(group, return_index=True)[1]
    assert len(group) // 2 < np.bincount(group).max() * 1.1
    np.testing.assert_array_equal(all_rows(views, key, "copies"), np.bincount(group)[group])
    kept = np.concatenate([v.table(key, positional=True)["drop"].combine_chunks().is_null() for v in views])
    np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(first))


def check_numbers(views: list[ShardView], key: str, group: np.ndarray) -> None:
    order = np.argsort(group, kind="stable")
    starts = np.unique(group[order], return_index=True)[1]
    expected = np.empty(len(group), np.int64)
    sizes = np.unique(group, return_counts=True)[1]
    expected[order] = np.arange(len(group)) - np.repeat(starts, sizes)
    np.testing.assert_array_equal(all_rows(views, key, "number"), expected)
    _, first, which = np.unique(group, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(all_rows(views, key, "first"), first[which])
