"""One kill: a run is started, and something of it dies at a drawn moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from workflows.kills.listen import drive
from workflows.kills.world import World

LIMIT_S = 300.0  # a run that takes longer hangs
LEAST_S = 0.004  # a step that takes less gets as much weight in the draw
PRELOAD = (
    "workflows.kills.listen", "pipeline.commands", "pipeline.run", "pipeline.report", "pipeline.train",
    "pipeline.ray_engine", "gpu_ops.trainer.compare", "gpu_ops.trainer.run",
    "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "sklearn.linear_model",
)  # fmt: skip

# A server that has loaded torch and Ray but used neither, of which every driver is a fork: it starts at once.
_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(list(PRELOAD))


@dataclass(frozen=True)
class Attempt:
    """One task, from its beginning to its end or its death. rows: part -> rows; None where it found its
    work done."""

    pid: int
    kinds: dict[str, str]
    task: str
    began: float
    seconds: float | None = None
    rows: dict[str, int | None] = field(default_factory=dict)


@dataclass
class Running:
    """A run under way, and what it has told so far."""

    process: Any
    log: Path
    output: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    _at: int = 0
    _half: bytes = b""

    def read(self) -> list[dict[str, Any]]:
        """The events since the last time."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        self._at += len(data)
        *lines, self._half = (self._half + data).split(b"\n")
        new = [json.loads(line) for line in lines]
        self.events += new
        return new

    def ended(self) -> bool:
        return self.process.exitcode is not None

    def wait(self) -> int:
        """Its exit code; TimeoutError where it hangs."""
        self.process.join(LIMIT_S)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"the run did not end within {LIMIT_S:g} s; its output: {self.output}")
        self.read()
        return int(self.process.exitcode)


def start(world: World, arguments: Sequence[str], name: str) -> Running:
    """`tamis run` in a process of its own."""
    log, output = world.folder / f"{name}.events", world.folder / f"{name}.output"
    log.unlink(missing_ok=True)
    given = ("run", str(world.folder / "c.yaml"), "--plain", *arguments)
    process = _fork.Process(target=_drive, args=(given, log, output, world.asked))
    process.start()
    return Running(process, log, output)


def _drive(arguments: Sequence[str], log: Path, output: Path, asked: dict[str, str]) -> None:
    os.setsid()
    number = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(number, 1)
    os.dup2(number, 2)
    sys.exit(drive(arguments, log, asked))


def attempts(events: Sequence[dict[str, Any]]) -> list[Attempt]:
    """The tasks of a run, in the order in which they began."""
    found: list[Attempt] = []
    open_: dict[tuple[Any, ...], int] = {}
    for event in events:
        place = (event["pid"], event.get("task"), tuple(event["kinds"]))
        if event["event"] == "begin":
            open_[place] = len(found)
            found.append(Attempt(event["pid"], event["kinds"], event["task"], event["at"]))
        elif event["event"] == "end" and place in open_:
            at = open_.pop(place)
            one = found[at]
            found[at] = Attempt(
                one.pid, one.kinds, one.task, one.began, event["at"] - one.began, event["rows"]
            )
    return found


def training(events: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """(seconds from the first step of training to the last, steps)."""
    steps = [event for event in events if event["event"] == "steps"]
    took = steps[-1]["at"] - steps[0]["at"] if steps else 0.0
    return took, sum(rows for event in steps for rows in event["rows"].values())


@dataclass(frozen=True)
class Moment:
    """When to kill: so long after the n-th task of a kind began (counted from 0)."""

    kind: str
    number: int
    after_s: float


def draw(kind: str, events: Sequence[dict[str, Any]], random: Random) -> Moment:
    """A moment within the steps of a kind, each instant as likely as any other."""
    if kind == "train":
        return Moment(kind, 0, random.random() * training(events)[0])
    mine = [a for a in attempts(events) if kind in a.kinds.values()]
    lasting = [max(a.seconds or 0.0, LEAST_S) for a in mine]
    number = random.choices(range(len(mine)), lasting)[0]
    return Moment(kind, number, random.random() * lasting[number])


Victim = Callable[[Running, dict[str, Any]], bool]


def kill_at(run: Running, moment: Moment, victim: Victim) -> dict[str, str] | None:
    """Waits for the moment and lets `victim` kill, with the event that began the task; what was under way,
    by part, or None where the run ended before. Where `victim` finds nothing to kill, the next task does."""
    seen = 0
    end = time.monotonic() + LIMIT_S
    while not run.ended() and time.monotonic() < end:
        for event in run.read():
            if event["event"] != "begin":
                continue
            if seen >= moment.number and (moment.kind in event["kinds"].values() or seen > moment.number):
                time.sleep(max(0.0, event["at"] + moment.after_s - time.time()))
                if victim(run, event):
                    run.read()
                    return _under_way(run.events)
            seen += moment.kind in event["kinds"].values()
        time.sleep(0.001)
    return None


def _under_way(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    steps = [event for event in events if event["event"] == "steps"]
    busy = {part: kind for a in attempts(events) if a.seconds is None for part, kind in a.kinds.items()}
    return busy | {part: "train" for event in steps[-1:] for part in event["kinds"]}


def kill_driver(run: Running, event: dict[str, Any]) -> bool:
    """The process that drives the run."""
    if run.ended():
        return False
    run.process.kill()
    run.process.join()
    return True


def interrupt(number: int) -> Victim:
    """A signal that asks: SIGTERM to the driver, or Ctrl-C, which a terminal sends to all that it started."""

    def ask(run: Running, event: dict[str, Any]) -> bool:
        if run.ended():
            return False
        if number == signal.SIGINT:
            os.killpg(run.process.pid, number)
        else:
            os.kill(run.process.pid, number)
        return True

    return ask


def kill_process(run: Running, event: dict[str, Any]) -> bool:
    """The process that runs the task: a worker, or an actor with a model."""
    if run.ended() or event["pid"] == run.process.pid:
        return False
    try:
        os.kill(event["pid"], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_trainer(run: Running, event: dict[str, Any]) -> bool:
    """One of the processes in which the driver trains."""
    mine = [pid for pid in children(run.process.pid) if b"spawn_main" in _command(pid)]
    if run.ended() or not mine:
        return False
    os.kill(mine[0], signal.SIGKILL)
    return True


def children(pid: int) -> list[int]:
    """The processes that a process started itself."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return sorted(found)


def parent(pid: int) -> int:
    """Who started a process; ProcessLookupError where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError as error:
        raise ProcessLookupError(pid) from error


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def work(
    events: Sequence[dict[str, Any]], rows: dict[tuple[str, str], int]
) -> Iterator[tuple[str, str, int]]:
    """(part, task, rows) of all work that was done or begun in vain; of a task that died `rows` says how
    many it would have done."""
    for attempt in attempts(events):
        for part, kind in attempt.kinds.items():
            if kind in ("books", "train"):
                continue
            told = rows.get((part, attempt.task)) if attempt.seconds is None else attempt.rows.get(part)
            if told is not None:
                yield part, attempt.task, told


def rows_by_task(events: Sequence[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """(part, task) -> rows, of a run that nothing disturbed."""
    return {(part, task): rows for part, task, rows in work(events, {})}


@dataclass(frozen=True)
class Repeated:
    """Tasks, rows and steps of training that were done more than once, and how many there are."""

    tasks: int
    of_tasks: int
    rows: int
    of_rows: int
    steps: int
    of_steps: int


def repeated(base: Sequence[dict[str, Any]], disturbed: Sequence[dict[str, Any]]) -> Repeated:
    """What a kill cost."""
    rows = rows_by_task(base)
    once, done = Counter(rows), Counter[tuple[str, str]]()
    tasks = 0
    for part, task, count in work(disturbed, rows):
        done[part, task] += count
        tasks += 1
    again = sum(max(0, count - once[place]) for place, count in done.items())
    steps, of_steps = training(disturbed)[1], training(base)[1]
    return Repeated(
        max(0, tasks - len(rows)), len(rows), again, once.total(), max(0, steps - of_steps), of_steps
    )
