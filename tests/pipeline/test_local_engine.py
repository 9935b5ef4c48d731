"""The local engine, and what every engine must do: tried on threads, on one thread, and on Ray."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import engine_tasks as do
import pyarrow as pa
import pytest

from pipeline.engine import MAX_RESULT_BYTES, Engine, Resources, make_engine, usable_cpus
from pipeline.errors import ConfigError, DataError, Interrupted
from pipeline.local_engine import LocalEngine


@pytest.fixture(params=[1, 2, pytest.param("ray", marks=pytest.mark.ray)], ids=str)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_engine")
        return
    local = make_engine("local", workers=request.param)
    yield local
    local.close()


class Watched(Sequence[int]):
    """Tasks that note how many were taken."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        if index >= self.count:
            raise IndexError
        self.taken = max(self.taken, index + 1)
        return index


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("context", [(1, 0), (-3, 5)])
def test_every_task_gives_its_result_once(engine: Engine, count: int, context: tuple[int, int]) -> None:
    results = list(engine.run(do.affine, context, range(count)))
    assert sorted(results) == [(i, context[0] * i + context[1]) for i in range(count)]


def test_results_come_as_they_finish(engine: Engine) -> None:
    first = [index for index, _ in engine.run(do.slow_if_first, 0.3, range(4))]
    assert sorted(first) == [0, 1, 2, 3]
    if engine.workers > 1:
        assert first[0] != 0


def test_few_tasks_are_in_flight_while_the_consumer_waits(engine: Engine) -> None:
    tasks = Watched(50)
    for taken_before, _ in enumerate(engine.run(do.affine, (1, 0), tasks)):
        assert tasks.taken - taken_before <= 2 * engine.workers
    assert tasks.taken == 50


def test_a_thousand_tiny_tasks(engine: Engine) -> None:
    begun = time.monotonic()
    assert len(list(engine.run(do.affine, (1, 0), range(1000)))) == 1000
    assert time.monotonic() - begun < 30


def test_an_exception_arrives_as_it_was_and_stops_the_rest(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^shard-3:17: text is 5, not a string; give `schema:`") as caught:
        list(engine.run(do.fail_at_three, str(tmp_path), range(200)))
    assert type(caught.value) is DataError
    done = len(os.listdir(tmp_path))
    assert done < 50
    time.sleep(0.1)
    assert len(os.listdir(tmp_path)) == done  # nothing goes on behind the caller's back


def test_an_exception_with_its_own_constructor_arrives(engine: Engine) -> None:
    with pytest.raises((do.Odd, DataError), match="shard:0"):
        list(engine.run(do.fail_oddly, None, [0]))


def test_an_exit_is_no_success(engine: Engine) -> None:
    with pytest.raises(DataError, match=r"engine_tasks\.leave called sys\.exit\(0\) on 7"):
        list(engine.run(do.leave, None, [7]))


def test_a_result_must_be_small(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match=r"returned 65.* bytes; a task may return 65536"):
        list(engine.run(do.grow, MAX_RESULT_BYTES, [0]))


def test_fetched_bytes_are_those_of_the_results(engine: Engine) -> None:
    before = engine.fetched_bytes
    list(engine.run(do.grow, 1000, range(8)))
    assert 8 * 1000 <= engine.fetched_bytes - before <= 8 * 1100


def test_a_run_that_is_closed_early_stops(engine: Engine) -> None:
    tasks = Watched(500)
    results = engine.run(do.affine, (1, 0), tasks)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert tasks.taken < 50
    assert list(engine.run(do.affine, (1, 0), [1])) == [(0, 1)]


def test_two_runs_may_be_under_way_at_once(engine: Engine) -> None:
    one, two = engine.run(do.affine, (1, 0), range(9)), engine.run(do.affine, (2, 0), range(9))
    pairs = list(zip(one, two, strict=True))
    assert sorted(p[0] for p in pairs) == [(i, i) for i in range(9)]
    assert sorted(p[1] for p in pairs) == [(i, 2 * i) for i in range(9)]


@pytest.mark.parametrize("copies", [None, 2])
def test_score_loads_a_model_per_copy(engine: Engine, copies: int | None, tmp_path: Path) -> None:
    wanted = Resources(workers=copies)
    assert sorted(engine.score(do.load, do.apply, str(tmp_path), range(9), wanted)) == [
        (i, i + 1) for i in range(9)
    ]
    assert len(os.listdir(tmp_path)) <= (copies or 1)


def test_on_a_gpu_two_tasks_share_a_model(tmp_path: Path) -> None:
    """So that one prepares while the other computes: each waits for another one that has the same model."""
    meeting = threading.Barrier(2, timeout=20)

    def meet(model: str, context: str, task: int) -> int:
        meeting.wait()
        return id(model)

    engine, wanted = LocalEngine(1), Resources(device="cuda")
    assert len({model for _, model in engine.score(do.load, meet, str(tmp_path), range(8), wanted)}) == 1
    assert len(os.listdir(tmp_path)) == 1


def test_score_without_tasks_loads_nothing(engine: Engine, tmp_path: Path) -> None:
    assert list(engine.score(do.load, do.apply, str(tmp_path), [], Resources())) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("copies", [None, 2])
def test_what_loading_raises_arrives(engine: Engine, copies: int | None, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^no model at \./stories"):
        list(engine.score(do.load_badly, do.apply, str(tmp_path), range(3), Resources(workers=copies)))


def test_what_a_model_raises_arrives(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^shard-\d: the model gave nan"):
        list(engine.score(do.load, do.apply_badly, str(tmp_path), range(3), Resources()))


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_promptly(workers: int, tmp_path: Path, ctrl_c: Callable[[Path], None]) -> None:
    engine = make_engine("local", workers=workers)
    ctrl_c(tmp_path)
    with pytest.raises(Interrupted, match="run the same command again"):
        list(engine.run(do.nap, str(tmp_path), range(100)))
    engine.close()
    # What was handed out may still begin while the signal is on its way, the rest never.
    assert len(os.listdir(tmp_path)) <= 3 * workers


def test_workers_bound_arrows_own_threads_until_the_engine_is_closed() -> None:
    before = pa.cpu_count()
    engine = LocalEngine(1)
    assert list(engine.run(do.arrow_threads, None, [0])) == [(0, 1)]
    engine.close()
    assert pa.cpu_count() == before


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ConfigError, match="no engine 'locl'; did you mean 'local'\\?"):
        make_engine("locl")
    with pytest.raises(ConfigError, match="workers is 0"):
        make_engine("local", workers=0)
    with pytest.raises(ConfigError, match="needs the engine 'ray'"):
        make_engine("local", address="10.0.0.1:6379")


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "50000 100000"}, 1),
        ({"a/cpu.max": "100000 100000", "cpu.max": "max 100000"}, 1),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "90000 100000"}, 1),
        ({"cpu/a/b/cpu.cfs_quota_us": "-1", "cpu/a/b/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/a/b/cpu.cfs_quota_us": "100000", "cpu/a/b/cpu.cfs_period_us": "100000"}, 1),
        ({}, None),
    ],
)
def test_a_containers_quota_bounds_the_cpus(tmp_path: Path, files: dict[str, str], cpus: int | None) -> None:
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    proc = tmp_path / "cgroup"
    proc.write_text("4:memory:/a/b\n3:cpu,cpuacct:/a/b\n0::/a/b\n")
    found = usable_cpus(str(proc), str(tmp_path / "groups"))
    assert found == (cpus or len(os.sched_getaffinity(0)))
