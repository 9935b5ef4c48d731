"""A driver that is listened to: the real command here, its tasks told to a file as they begin and end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipeline import cli, progress, run
from pipeline.engine import Engine, Resources, make_engine
from pipeline.engine_around import EngineAround
from pipeline.export import Export
from pipeline.nodes import Node
from pipeline.tasks import Done, Job, Scan, scan

KINDS = (
    "map", "score", "fold", "shuffle", "loop", "fit", "cut", "curriculum", "export", "books", "train"
)  # fmt: skip
CHOOSING = {"importance": "cut", "curriculum": "curriculum"}
SHAPES = {"MapOp": "map", "ScoreOp": "score", "FitOp": "fit", "LoopOp": "loop", "FoldOp": "map"}
ROLES = {"fold": "fold", "emit": "shuffle"}


def kind_of(node: Node, role: str, asked: dict[str, str]) -> str:
    """What kind of step a node's task is. asked: the operators that the config names, by node."""
    if "@" in node.name or node.shape == "LoopOp":
        return "loop"
    chosen = CHOOSING.get(asked.get(node.name.split("/")[0], ""))
    return chosen or ROLES.get(role) or SHAPES.get(node.shape, "shuffle")


def kinds_of(fn: Callable[..., Any], context: Any, asked: dict[str, str]) -> dict[str, str]:
    """For each part of a task, by name, what kind of step it is."""
    if isinstance(context, Scan):
        return {_part(job): kind_of(job.node, job.role, asked) for job in context.jobs}
    if isinstance(context, Export):
        return {f"{context.path}:{fn.__name__}": "export"}
    node = getattr(context, "node", None)
    if node is None:
        return {fn.__name__: "books"}
    role = {"merge_states": "fold", "finish_fold": "fold", "tally": "fold"}.get(fn.__name__, "columns")
    return {f"{node.name}:{fn.__name__}": kind_of(node, role, asked)}


def _part(job: Job) -> str:
    return f"{job.node.name}:{job.role}"


@dataclass(frozen=True)
class Told:
    """A task function that says when it begins and ends; travels to workers."""

    func: Callable[..., Any]
    log: str
    kinds: dict[str, str]

    def __call__(self, *arguments: Any) -> Any:
        """arguments: as `func` wants them, the task last."""
        task = str(arguments[-1])
        say(self.log, "begin", kinds=self.kinds, task=task)
        result = self.func(*arguments)
        say(self.log, "end", kinds=self.kinds, task=task, rows=self._rows(result))
        return result

    def _rows(self, result: Any) -> dict[str, int | None]:
        """Part -> the rows that it worked on; None where it found its work done."""
        if isinstance(result, Done):
            worked = result.seconds > 0 and not (self.func.__name__ == "score" and not result.rows)
            return dict.fromkeys(self.kinds, result.rows if worked else None)
        if self.func is scan:
            rows = {name: done.rows for name, done in result.items()}
            return {part: rows.get(part.rpartition(":")[0]) for part in self.kinds}
        if "export" in self.kinds.values():
            return dict.fromkeys(self.kinds, result["rows"] if isinstance(result, dict) else result)
        return dict.fromkeys(self.kinds)


class ToldEngine(EngineAround):
    """An engine whose tasks are Told."""

    def __init__(self, engine: Engine, log: str, asked: dict[str, str]) -> None:
        super().__init__(engine)
        self._log, self._asked = log, asked

    def _told(self, fn: Callable[..., Any], context: Any) -> Told:
        return Told(fn, self._log, kinds_of(fn, context, self._asked))

    def run(self, fn: Callable[..., Any], context: Any, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """As the engine does it."""
        return self.engine.run(self._told(fn, context), context, tasks)

    def score(
        self,
        load: Callable[..., Any],
        fn: Callable[..., Any],
        context: Any,
        tasks: Sequence[Any],
        resources: Resources,
    ) -> Iterator[tuple[int, Any]]:
        """As the engine does it."""
        return self.engine.score(load, self._told(fn, context), context, tasks, resources)


class ToldProgress(progress.Progress):
    """A display that also tells the file of every step of training."""

    log = ""

    def start(self, node: str, total_rows: int | None = None, unit: str = "rows", before: int = 0) -> None:
        if unit == "steps":
            say(self.log, "begin", kinds={node: "train"}, task="0")
        super().start(node, total_rows, unit, before)

    def advance(self, node: str, rows: int, kept: int | None = None, judged: int | None = None) -> None:
        if node.startswith("train "):
            say(self.log, "steps", kinds={node: "train"}, rows={node: rows})
        super().advance(node, rows, kept, judged)


def say(log: str, event: str, **more: Any) -> None:
    """One line, in one write, so that lines of several processes do not mix."""
    line = json.dumps({"event": event, "at": time.time(), "pid": os.getpid(), **more})
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(number, line.encode() + b"\n")
    finally:
        os.close(number)


def drive(arguments: Sequence[str], log: Path, asked: dict[str, str]) -> int:
    """`tamis` with these arguments, listened to; its exit code."""
    ToldProgress.log = str(log)

    def told_engine(*given: Any) -> ToldEngine:
        return ToldEngine(make_engine(*given), str(log), asked)

    with patch.object(run, "make_engine", told_engine), patch.object(progress, "Progress", ToldProgress):
        return cli.main(list(arguments))
