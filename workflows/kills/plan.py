"""Which kills there are, and how one is done on each engine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice, zip_longest
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from workflows.kills import attack
from workflows.kills.cluster import Nodes, nodes
from workflows.kills.table import Kill
from workflows.kills.world import TWO_ARMS, Left, World

STEPS = ("map", "score", "fold", "shuffle", "loop", "fit", "cut", "curriculum", "export")
TRIES = 5  # draws of a moment, where a run was faster than the draw expected
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}


@dataclass(frozen=True)
class Aim:
    """What gets which signal, in which kind of step."""

    kind: str
    target: str
    signal: int = signal.SIGKILL

    @property
    def arms(self) -> tuple[str, ...]:
        """Settings: two arms have a process each to train in, one trains in the driver."""
        return TWO_ARMS if self.target in ("trainer", "driver of trainers") else ()


def aims(engine: str, number: int = signal.SIGKILL) -> list[Aim]:
    """Every kind of step with everything that can die in it; only the driver can be asked to end."""
    drivers = [Aim(kind, "driver", number) for kind in (*STEPS, "books", "train")]
    drivers.append(Aim("train", "driver of trainers", number))
    if number != signal.SIGKILL:
        return drivers
    trainer = Aim("train", "trainer")
    if engine == "local":
        return [*drivers, trainer]
    workers = [Aim(kind, "actor" if kind == "score" else "worker") for kind in (*STEPS, "books")]
    nodes = [Aim(kind, "node") for kind in STEPS]
    return [aim for some in zip_longest(workers, drivers, nodes) for aim in some if aim] + [trainer]


def planned(engine: str, count: int, number: int = signal.SIGKILL) -> list[Aim]:
    """So many kills: every aim in turn."""
    return list(islice(cycle(aims(engine, number)), count))


@dataclass
class Lane:
    """A world in which one run after another is killed. base: the undisturbed runs, by their settings."""

    engine: str
    world: World
    arguments: tuple[str, ...]
    nodes: Nodes | None = None
    base: dict[tuple[str, ...], tuple[Left, list[dict[str, Any]]]] = field(default_factory=dict)

    def undisturbed(self, settings: tuple[str, ...]) -> tuple[Left, list[dict[str, Any]]]:
        """What a run in peace leaves and tells; made once."""
        if settings not in self.base:
            self.world.clear()
            run = attack.start(self.world, (*self.arguments, *settings), "undisturbed")
            if code := run.wait():
                raise RuntimeError(f"the undisturbed run ended with {code}:\n{run.output.read_text()}")
            self.base[settings] = self.world.left(), run.events
            assert not self.base[settings][0].unaccounted
        return self.base[settings]

    def kill(self, aim: Aim, seed: str) -> Kill:
        """One kill, and what came of it."""
        want, told = self.undisturbed(aim.arms)
        random = Random(seed)
        for _ in range(TRIES):
            if self.nodes is not None:
                self.nodes.mend()
            self.world.clear()
            moment = attack.draw(aim.kind, told, random)
            run = attack.start(self.world, (*self.arguments, *aim.arms), "killed")
            hit = attack.kill_at(run, moment, self._victim(aim))
            codes = [run.wait()]
            if hit is not None:
                return self._told(aim, hit, codes, want, told, run.events)
        raise RuntimeError(f"nothing died in {TRIES} runs: {aim}, {moment}")

    def _told(
        self, aim: Aim, hit: dict[str, str], codes: list[int], want: Left,
        told: list[dict[str, Any]], events: list[dict[str, Any]],
    ) -> Kill:  # fmt: skip
        while codes[-1] and len(codes) < TRIES:
            again = attack.start(self.world, (*self.arguments, *aim.arms), f"again-{len(codes)}")
            codes.append(again.wait())
            events = events + again.events
        if codes[-1]:
            raise RuntimeError(
                f"{aim}: after the kill the run ended with {codes}:\n{again.output.read_text()}"
            )
        left = self.world.left()
        return Kill(
            self.engine, aim.target, aim.kind, aim.signal != signal.SIGKILL, sorted(set(hit.values())), codes,
            left.differing(want), left.unaccounted, attack.repeated(told, events),
        )  # fmt: skip

    def _victim(self, aim: Aim) -> attack.Victim:
        if aim.signal != signal.SIGKILL:
            return attack.interrupt(aim.signal)
        if aim.target.startswith("driver"):
            return attack.kill_driver
        if aim.target == "trainer":
            return attack.kill_trainer
        if aim.target == "node":
            assert self.nodes is not None
            return self.nodes.kill_node
        return attack.kill_process


@contextmanager
def lane_of(engine: str, folder: Path, rows: int, train: bool = True) -> Iterator[Lane]:
    """Threads in the driver, or a Ray cluster of three nodes."""
    world = World.make(folder, rows, train)
    if engine == "local":
        yield Lane(engine, world, ("--workers", "2"))
        return
    with TemporaryDirectory(prefix="tk-", dir="/tmp") as own, nodes(own) as cluster:
        yield Lane(engine, world, ("--engine", "ray", "--address", cluster.address), cluster)
