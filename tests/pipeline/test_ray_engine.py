"""The Ray engine where Ray differs: dying workers and models, stores that are not shared, ways in."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine_tasks as do
import pytest

from pipeline import ray_cluster, ray_models, ray_replies
from pipeline.engine import Engine, Resources, make_engine
from pipeline.errors import ConfigError, DataError, Interrupted, ResourceError
from pipeline.store import Store

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray


def attempts(folder: Path) -> Counter[int]:
    """Task -> how often it was begun, by the marks of engine_tasks."""
    return Counter(int(name.split("-")[0]) for name in os.listdir(folder))


def test_a_task_whose_worker_dies_runs_again(ray_engine: Engine, tmp_path: Path) -> None:
    results = dict(ray_engine.run(do.tally, str(tmp_path), range(12)))
    assert {task: value for task, (value, _) in results.items()} == {i: 10 * i for i in range(12)}
    assert results[2][1] >= 1  # the attempt that was killed is not the one that counts
    assert attempts(tmp_path)[2] >= 2


def test_a_task_that_always_kills_its_worker_is_named(ray_engine: Engine, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ResourceError, match=r"engine_tasks\.die: .* died 6 times on task 5 of 8, 4; most"):
        list(ray_engine.run(do.die, str(tmp_path), range(8)))
    assert attempts(tmp_path) == {4: 6}
    assert time.monotonic() - begun < 60


def test_the_remote_traceback_comes_along(ray_engine: Engine) -> None:
    with pytest.raises(DataError, match="Odd: shard:0") as caught:
        list(ray_engine.run(do.fail_oddly, None, [0]))
    notes = "".join(caught.value.__notes__)
    assert "fail_oddly" in notes
    assert "process " in notes


def test_an_application_error_is_not_retried(ray_engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(ray_engine.run(do.count_and_fail, str(tmp_path), [0]))
    assert attempts(tmp_path) == {0: 1}


def test_a_model_that_dies_is_replaced_and_its_tasks_are_done(ray_engine: Engine, tmp_path: Path) -> None:
    results = list(ray_engine.score(do.load, do.apply_tally, str(tmp_path), range(9), Resources(workers=2)))
    assert sorted((i, value) for i, (value, _) in results) == [(i, 10 * i) for i in range(9)]
    assert attempts(tmp_path)[2] >= 2


def test_a_model_that_always_dies_names_the_task(
    ray_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_replies, "MAX_RETRIES", 1)
    with pytest.raises(ResourceError, match=r"apply_die: .* died 2 times on task 5 of 6, 4;"):
        list(ray_engine.score(do.load, do.apply_die, str(tmp_path), range(6), Resources(workers=1)))


def test_a_model_that_dies_while_it_loads_ends_the_run(
    ray_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_replies, "MAX_RETRIES", 1)
    with pytest.raises(ResourceError, match="died 2 times while the model loaded"):
        list(ray_engine.score(do.load_to_death, do.apply, str(tmp_path), range(3), Resources()))


def test_a_model_has_at_most_two_tasks_queued(
    ray_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deepest = 0
    feed = ray_models.Models._feed

    def watch(models: ray_models.Models, *args: Any) -> None:
        nonlocal deepest
        feed(models, *args)
        deepest = max([deepest, *(len(seat.queue) for seat in models._seats)])

    monkeypatch.setattr(ray_models.Models, "_feed", watch)
    assert (
        len(list(ray_engine.score(do.load, do.apply, str(tmp_path), range(20), Resources(workers=2)))) == 20
    )
    assert deepest == 2


def test_gpus_that_do_not_exist_are_an_error(
    ray_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_models, "START_S", 0.0)
    with pytest.raises(ResourceError, match=r"wants 0\.5 GPUs a copy; the cluster has 0: set"):
        list(ray_engine.score(do.load, do.apply, str(tmp_path), [0], Resources(gpus=0.5)))
    with pytest.raises(ConfigError, match=r"resources\.gpus is 1\.5"):
        list(ray_engine.score(do.load, do.apply, str(tmp_path), [0], Resources(gpus=1.5)))


@pytest.mark.parametrize(
    ("resources", "workers", "cluster", "expected"),
    [
        (Resources(), 64, {"GPU": 8, "nodes": [32, 32]}, (8, 1, 1)),
        (Resources(gpus=0.25), 64, {"GPU": 8, "nodes": [32, 32]}, (32, 1, 0.25)),
        (Resources(device="cpu"), 64, {"GPU": 8, "nodes": [32, 32]}, (2, 32, 0)),
        (Resources(workers=3), 64, {"GPU": 0, "nodes": [32, 32]}, (3, 21, 0)),
        (Resources(workers=4), 2, {"GPU": 0, "nodes": [2]}, (4, 0.5, 0)),
        (Resources(), 2, {"GPU": 0, "nodes": [2]}, (1, 2, 0)),
    ],
)
def test_models_share_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
    resources: Resources,
    workers: int,
    cluster: dict[str, Any],
    expected: tuple[int, float, float],
) -> None:
    monkeypatch.setattr(ray_cluster, "capacity", lambda kind: cluster[kind])
    monkeypatch.setattr(ray_cluster, "cpu_nodes", lambda: cluster["nodes"])
    share = ray_models.share(resources, workers)
    assert (share.copies, share.cpus, share.gpus) == expected


def wait_for_free_bytes(reached: Callable[[float], bool]) -> None:
    """Ray tells the object store's free bytes about a second late."""
    deadline = time.monotonic() + 30
    while not reached(ray.available_resources()["object_store_memory"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_context_is_freed_and_fetched_once(ray_engine: Engine) -> None:
    free = ray.cluster_resources()["object_store_memory"]
    wait_for_free_bytes(lambda now: now > free - (1 << 20))
    before = ray_engine.fetched_bytes
    results = ray_engine.run(do.size_of, os.urandom(8 << 20), range(20))
    sizes = {next(results)[1]}
    wait_for_free_bytes(lambda now: now <= free - (8 << 20))
    assert sizes | {size for _, size in results} == {8 << 20}
    assert ray_engine.fetched_bytes - before < 20 * 100
    for _ in range(8):  # a worker keeps the last two contexts that it saw
        list(ray_engine.run(do.identity, None, range(8)))
    wait_for_free_bytes(lambda now: now > free - (1 << 20))


def test_a_store_that_every_node_sees_is_accepted(ray_engine: Engine, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ray_engine.check_store(store)
    assert list(ray_engine.run(do.identity, None, [7])) == [(0, 7)]
    ray_engine.check_store(Store(str(tmp_path)))
    assert len(store.list("tmp")) == 1  # the token of the check before is gone


def test_a_store_in_memory_is_refused(ray_engine: Engine) -> None:
    with pytest.raises(ResourceError, match=r"memory://x is this process's memory.*local engine"):
        ray_engine.check_store(Store("memory://x"))


def test_a_store_that_a_node_does_not_see_is_refused(
    ray_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "__reduce__", lambda self: (Store, (f"{self.url}-of-another-node",)))
    with pytest.raises(ResourceError, match=r"node .* does not share the store .*s3://bucket/prefix"):
        ray_engine.check_store(Store(str(tmp_path / "store")))


def test_a_worker_that_joins_later_looks_for_itself(ray_engine: Engine, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ray_engine.check_store(store)
    try:
        store.delete("tmp")
        with pytest.raises(ResourceError, match="does not share the store"):
            list(ray_engine.run(do.identity, None, [7]))
    finally:
        ray_engine._forget_token()  # type: ignore[attr-defined]


def test_ctrl_c_hands_out_no_more(ray_engine: Engine, tmp_path: Path, ctrl_c: Callable[[Path], None]) -> None:
    ctrl_c(tmp_path)
    begun = time.monotonic()
    with pytest.raises(Interrupted, match="run the same command again"):
        list(ray_engine.run(do.nap, str(tmp_path), range(100)))
    assert time.monotonic() - begun < 30
    begun_tasks = len(os.listdir(tmp_path))
    time.sleep(1.0)
    assert len(os.listdir(tmp_path)) == begun_tasks <= 3 * ray_engine.workers


def test_an_engine_joins_the_ray_of_this_process_and_leaves_it_running(ray_engine: Engine) -> None:
    other = make_engine("ray", workers=1)
    assert other.workers == 1
    assert list(other.run(do.identity, None, [3])) == [(0, 3)]
    other.close()
    assert ray.is_initialized()
    with pytest.raises(ConfigError, match=r"cannot join 10\.0\.0\.1:6379"):
        make_engine("ray", address="10.0.0.1:6379")


def test_a_ray_that_does_not_come_up_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(**settings: object) -> None:
        raise Exception("The current node timed out during startup")

    monkeypatch.setattr(ray_cluster, "_init", too_late)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(ResourceError, match=r"did not come up.*timed out during startup.*run again"):
        ray_cluster._start(1)


def test_a_dead_address_is_refused_at_once() -> None:
    begun = time.monotonic()
    with pytest.raises(ResourceError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        ray_cluster._reach("127.0.0.1:1")
    assert time.monotonic() - begun < 2


def test_the_note_of_a_dead_cluster_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert ray_cluster._left_by_ray_start() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1\n")
    assert ray_cluster._left_by_ray_start() is None
