"""SIGKILL in every kind of step, on both engines: what is left equals what an undisturbed run leaves.

The plain test run has two kills; `python -m workflows.kills --kills 100` has as many as you like."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from workflows.kills.attack import draw, repeated
from workflows.kills.plan import STEPS, Aim, Lane, aims, lane_of, planned
from workflows.kills.table import Kill, table
from workflows.kills.world import Left, World


def event(kind: str, at: float, task: int, **more: Any) -> dict[str, Any]:
    return {"event": kind, "at": at, "pid": 1, "kinds": {"loss:score": "score"}, "task": str(task), **more}


def scored(task: int, at: float, rows: int | None = 10) -> list[dict[str, Any]]:
    return [event("begin", at, task), event("end", at + 1, task, rows={"loss:score": rows})]


def test_a_moment_is_drawn_within_the_steps_of_its_kind() -> None:
    moments = [draw("score", scored(0, 5.0) + scored(1, 7.0), Random(n)) for n in range(50)]
    assert {moment.number for moment in moments} == {0, 1}
    assert all(0 <= moment.after_s < 1 for moment in moments)
    assert len({moment.after_s for moment in moments}) == 50


def test_work_is_repeated_where_it_died_or_was_done_twice() -> None:
    base = scored(0, 0) + scored(1, 1)
    died = [*scored(0, 0), event("begin", 1, 1)]
    found = scored(0, 5, rows=None)  # the second run finds this one done
    once = repeated(base, [*died, *found, *scored(1, 6)])
    assert (once.tasks, once.of_tasks, once.rows, once.of_rows) == (1, 2, 10, 20)
    twice = repeated(base, [*died, *scored(0, 5), *scored(1, 6)])
    assert (twice.tasks, twice.rows) == (2, 20)
    assert repeated(base, base).tasks == repeated(base, base).rows == 0


def test_every_kind_of_step_is_aimed_at() -> None:
    for engine, targets in (("local", {"driver"}), ("ray", {"driver", "node", "worker"})):
        found = {(aim.kind, aim.target) for aim in aims(engine)}
        assert found >= {(kind, target) for kind in STEPS if kind != "score" for target in targets}
        assert {("train", "trainer"), ("train", "driver"), ("score", "driver")} <= found
        assert len({aim.kind for aim in planned(engine, 40)}) == len(STEPS) + 2
    assert {aim.target for aim in aims("ray", signal.SIGTERM)} == {"driver", "driver of trainers"}


def test_a_byte_a_row_and_an_exit_code_are_told() -> None:
    want = Left({"out/a": ("1", 10), "out/b": ("2", 20)}, {"kept": 3}, 0)
    assert want.differing(want) == {}
    other = Left({"out/a": ("9", 11), "out/c": ("3", 5)}, {"kept": 4}, 2)
    assert other.differing(want) == {"out/a": 11, "out/b": 20, "out/c": 5, "books: kept": 1}
    cost = repeated(scored(0, 0), scored(0, 0))
    kill = Kill("local", "driver", "map", False, ["map"], [-9, 0], {}, 0, cost)
    assert kill.harmless
    assert not replace(kill, differing={"out/a": 11}).harmless
    assert not replace(kill, unaccounted=1).harmless
    assert not replace(kill, asked=True).harmless
    assert replace(kill, asked=True, codes=[4, 0]).harmless
    bad = replace(kill, differing={"out/a": 11}, unaccounted=2)
    assert "| map | driver | local | 2 | 2 | 4 | 11 | 2 | 0.00 % | 0.00 % | 0.00 % |" in table([kill, bad])


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """Without training, which would take most of the time."""
    with lane_of("local", tmp_path_factory.mktemp("kills") / "local", rows=80, train=False) as lane:
        yield lane


@pytest.mark.parametrize("kind", ["loop", "export"])
def test_the_driver_dies(local: Lane, kind: str) -> None:
    kill = local.kill(Aim(kind, "driver"), kind)
    assert kill.harmless, kill.line()
    assert kill.codes == [-signal.SIGKILL, 0]
    # At most the tasks that two threads were at.
    assert kill.repeated.tasks <= 2 * max(1, len(kill.hit)) * len(STEPS), kill.line()


def test_what_is_spoilt_is_seen(local: Lane) -> None:
    """The comparison itself: a flipped bit, a lost document and a file that is left over."""
    want, _ = local.undisturbed(())
    world = World(shutil.copytree(local.world.folder, local.world.folder.with_name("spoilt")))
    first, *others = sorted((world.folder / "out").glob("part-*"))
    column = next((world.store / "nodes").rglob("*.arrow"))
    data = bytearray(column.read_bytes())
    data[len(data) // 2] ^= 1
    column.write_bytes(data)
    first.unlink()
    Path(f"{others[0]}.left").touch()
    left = world.left()
    assert set(left.differing(want)) == {
        str(path.relative_to(world.folder)) for path in (column, first, Path(f"{others[0]}.left"))
    }
    assert left.unaccounted > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_driver_ends_in_every_kind_of_step(tmp_path: Path, number: int) -> None:
    with lane_of("local", tmp_path / "local", rows=240) as lane:
        kills = [lane.kill(aim, str(number)) for aim in aims("local", number)]
    assert all(kill.harmless for kill in kills), table(kills)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """Three nodes of a CPU each."""
    with lane_of("ray", tmp_path_factory.mktemp("kills") / "ray", rows=240) as lane:
        yield lane


@pytest.mark.slow
@pytest.mark.ray
def test_of_three_nodes_one_dies_midway(cluster: Lane) -> None:
    """The run goes on by itself and ends with the bytes of the local engine."""
    on_local, _ = Lane("local", cluster.world, ("--workers", "2")).undisturbed(())
    on_three, _ = cluster.undisturbed(())
    assert on_three.differing(on_local) == {}
    for kind in ("shuffle", "score"):
        kill = cluster.kill(Aim(kind, "node"), kind)
        assert kill.harmless, kill.line()
        assert kill.codes == [0]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(("kind", "target"), [("map", "worker"), ("score", "actor"), ("loop", "driver")])
def test_somebody_of_a_cluster_dies(cluster: Lane, kind: str, target: str) -> None:
    kill = cluster.kill(Aim(kind, target), kind)
    assert kill.harmless, kill.line()
    assert kill.codes == ([-signal.SIGKILL, 0] if target == "driver" else [0])
