"""The store on a folder, on an S3 server and in memory: one commit wins, whole, whatever else happens."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import store as module
from pipeline.errors import DataError, ResourceError
from pipeline.store import Store, key_of


def make(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if kind == "folder":
        return Store(str(tmp_path / "store"))
    if kind == "memory":
        return Store(f"memory://{uuid.uuid4().hex}")
    return Store(f"{request.getfixturevalue('s3_url')}/{uuid.uuid4().hex}")


@pytest.fixture(params=["folder", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return make(request.param, request, tmp_path)


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store that several writers may use at once."""
    return make(request.param, request, tmp_path)


def batch(*values: int) -> pa.RecordBatch:
    return pa.record_batch({"v": pa.array(values, pa.int64())})


def race(writers: list[Callable[[], bool]]) -> list[bool]:
    """What each writer returned, all let loose at one moment."""
    won = [False] * len(writers)
    gate = threading.Barrier(len(writers))

    def write(i: int) -> None:
        gate.wait()
        won[i] = writers[i]()

    threads = [threading.Thread(target=write, args=(i,)) for i in range(len(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_what_is_committed_is_read_back(store: Store) -> None:
    assert not store.exists("runs/a/x.json")
    with pytest.raises(FileNotFoundError):
        store.read("runs/a/x.json")
    assert store.list("runs") == []
    assert store.commit("runs/a/x.json", b"one")
    assert store.exists("runs/a/x.json")
    assert store.read("runs/a/x.json") == b"one"
    assert store.list("runs") == ["runs/a/x.json"]
    assert store.list("run") == []


def test_the_first_commit_wins(store: Store) -> None:
    assert store.commit("runs/x", b"first")
    assert not store.commit("runs/x", b"second, and longer")
    assert store.read("runs/x") == b"first"
    with store.create("runs/x") as path:
        Path(path).write_bytes(b"third")
    assert store.read("runs/x") == b"first"


def test_of_writers_that_race_exactly_one_wins_whole(shared: Store) -> None:
    for turn in range(10):
        texts = [bytes([i]) * 100_000 for i in range(4)]
        won = race([partial(shared.commit, f"runs/{turn}", text) for text in texts])
        assert sum(won) == 1
        assert shared.read(f"runs/{turn}") == texts[won.index(True)]
    assert shared.list("tmp") == []


def test_of_racing_records_one_wins_and_what_it_names_is_whole(shared: Store) -> None:
    """Two zombie attempts of one task with different bytes: afterwards one, readable and consistent."""

    def attempt(value: int) -> bool:
        record = shared.put_batches("nodes/n/s", batch(0).schema, iter([batch(value, value)]))
        return shared.commit_record("nodes/n/s/0.json", record)

    won = race([partial(attempt, 1), partial(attempt, 2)])
    assert sum(won) == 1
    record = shared.record("nodes/n/s/0.json")
    assert record is not None
    assert record["rows"] == 2
    table = shared.open_arrow(f"nodes/n/s/{record['file']}").read_all()
    assert table.column("v").to_pylist() == [won.index(True) + 1] * 2


def fail_half_way(store: Store, name: str, seen: list[str]) -> None:
    with store.create(name) as path:
        seen.append(path)
        Path(path).write_bytes(b"half")
        raise ZeroDivisionError


def test_a_file_that_was_not_finished_is_not_there(store: Store) -> None:
    seen: list[str] = []
    with pytest.raises(ZeroDivisionError):
        fail_half_way(store, "nodes/x.arrow", seen)
    assert not store.exists("nodes/x.arrow")
    assert not os.path.exists(seen[0])


def test_a_killed_writer_leaves_a_temporary_and_nothing_else(tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom pipeline.store import Store\n"
        f"with Store({str(tmp_path)!r}).create('nodes/x') as path:\n"
        "    open(path, 'wb').write(b'half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    store = Store(str(tmp_path))
    assert store.list("nodes") == []
    assert len(store.list("tmp")) == 1
    with store.create("nodes/mine") as path:
        Path(path).touch()
        store.sweep()
        assert store.list("tmp") == [os.path.relpath(path, tmp_path)]  # of a process that lives
    assert store.list("nodes") == ["nodes/mine"]
    assert store.commit("nodes/x", b"whole")


def test_a_pickled_store_is_the_same_store(store: Store) -> None:
    store.commit("runs/x", b"one")
    again = pickle.loads(pickle.dumps(store))
    assert again.url == store.url
    assert again.read("runs/x") == b"one"
    assert not again.commit("runs/x", b"two")


def test_deleting_takes_a_file_or_a_folder(store: Store) -> None:
    for name in ("nodes/a/1", "nodes/a/2", "nodes/b/1"):
        store.commit(name, b"x")
    store.delete("nodes/a/1")
    assert store.list("nodes") == ["nodes/a/2", "nodes/b/1"]
    store.delete("nodes/a")
    store.delete("nodes/never")
    assert store.list("nodes") == ["nodes/b/1"]


@pytest.mark.parametrize("ranges", [False, True])
def test_batches_come_back_and_equal_content_has_one_name(store: Store, ranges: bool) -> None:
    schema = batch(0).schema
    one = store.put_batches("nodes/n", schema, iter([batch(1, 2), batch(3)]))
    assert one == store.put_batches("nodes/n", schema, iter([batch(1, 2), batch(3)]))
    assert one["rows"] == 3
    assert store.list("nodes/n") == [f"nodes/n/{one['file']}"]
    reader = store.open_arrow(f"nodes/n/{one['file']}", ranges=ranges)
    assert [reader.get_batch(i).to_pydict() for i in range(2)] == [{"v": [1, 2]}, {"v": [3]}]


def test_an_artifact_comes_back(store: Store) -> None:
    arrays = {"mean": np.arange(4, dtype=np.float32), "count": np.array(7, dtype=np.int64)}
    assert store.put_artifact("nodes/fold/state.json", arrays)
    assert not store.put_artifact("nodes/fold/state.json", {"mean": np.zeros(1)})
    found = store.get_artifact("nodes/fold/state.json")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(FileNotFoundError):
        store.get_artifact("nodes/fold/other.json")


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    written = Store(str(tmp_path))
    name = "nodes/n/" + written.put_batches("nodes/n", batch(0).schema, iter([batch(*range(100))]))["file"]
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(
        DataError, match=r"nodes/n/.* is missing or damaged: .* delete the folder .*/nodes/n "
    ):
        Store(str(tmp_path)).open_arrow(name)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        Store(str(tmp_path)).open_arrow(name)


def test_a_file_that_an_earlier_version_named_by_blake2b_is_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    made = store.put_batches("nodes/n", batch(0).schema, iter([batch(1, 2, 3)]))["file"]
    data = (tmp_path / "nodes/n" / made).read_bytes()
    old = f"{hashlib.blake2b(data, digest_size=16).hexdigest()}.arrow"
    (tmp_path / "nodes/n" / made).rename(tmp_path / "nodes/n" / old)
    assert store.open_arrow(f"nodes/n/{old}").read_all().num_rows == 3
    (tmp_path / "nodes/n" / old).write_bytes(data[:-1] + b"?")
    with pytest.raises(DataError, match="missing or damaged"):
        Store(str(tmp_path)).open_arrow(f"nodes/n/{old}")


def test_a_cut_record_is_found(store: Store) -> None:
    store.commit("nodes/n/0.json", b'{"file": "ab')
    with pytest.raises(DataError, match=r"nodes/n/0\.json is missing or damaged"):
        store.record("nodes/n/0.json")


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(str(tmp_path))
    monkeypatch.setattr(module.Path, "write_bytes", full)
    with pytest.raises(ResourceError, match=r"no space left in .*: free some and run again"):
        store.commit("runs/x", b"data")
    monkeypatch.undo()
    assert store.list("") == []


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PARTS, PARTS)
def test_keys_are_equal_if_and_only_if_their_parts_are(one: object, two: object) -> None:
    assert (key_of(one) == key_of(two)) == (repr_of(one) == repr_of(two))


def repr_of(part: object) -> str:
    """A text that keeps apart what Python's == does not (True and 1), blind to the order of keys."""
    if isinstance(part, dict):
        return "{" + ",".join(f"{k!r}:{repr_of(v)}" for k, v in sorted(part.items())) + "}"
    if isinstance(part, list):
        return "[" + ",".join(map(repr_of, part)) + "]"
    return repr(part)


def test_a_key_is_stable() -> None:
    assert key_of("minhash", {"threshold": 0.8}) == key_of("minhash", {"threshold": 0.8})
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert len(key_of()) == 24
