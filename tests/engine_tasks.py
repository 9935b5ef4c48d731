"""Task functions for the engines' tests, in a module that Ray workers import by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa

from pipeline.errors import DataError


class Odd(ValueError):
    """An exception whose constructor wants more than its message."""

    def __init__(self, shard: str, row: int) -> None:
        super().__init__(f"{shard}:{row}")
        self.row = row


def affine(context: tuple[int, int], task: int) -> int:
    factor, offset = context
    return factor * task + offset


def slow_if_first(context: float, task: int) -> int:
    time.sleep(context if task == 0 else 0.0)
    return task


def fail_at_three(folder: str, task: int) -> int:
    if task == 3:
        raise DataError("shard-3:17: text is 5, not a string; give `schema:`")
    Path(folder, str(task)).touch()
    time.sleep(0.01)
    return task


def fail_oddly(context: None, task: int) -> int:
    raise Odd("shard", task)


def fail_unpicklably(context: None, task: int) -> int:
    error = KeyError("no such column")
    error.lock = sys.stdout  # type: ignore[attr-defined]
    raise error


def leave(context: None, task: int) -> int:
    sys.exit(0)


def grow(context: int, task: int) -> bytes:
    return bytes(context)


def tally(folder: str, task: int) -> tuple[int, int]:
    """Leaves a mark per attempt; task 2 kills its worker on the first one."""
    attempt = _attempt(folder, task)
    if task == 2 and attempt == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * 10, attempt


def _attempt(folder: str, task: int) -> int:
    attempt = 0
    while True:
        try:
            Path(folder, f"{task}-{attempt}").touch(exist_ok=False)
        except FileExistsError:
            attempt += 1
        else:
            return attempt


def die(folder: str, task: int) -> int:
    if task == 4:
        time.sleep(0.3)  # so that the answer of the task before has left
        _attempt(folder, task)
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def load(folder: str) -> list[str]:
    """A model that leaves a mark per load."""
    return [f"model-{_attempt(folder, 1000)}"]


def load_badly(folder: str) -> list[str]:
    raise FileNotFoundError("no model at ./stories")


def load_to_death(folder: str) -> list[str]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def apply(model: list[str], folder: str, task: int) -> int:
    assert model
    return task + 1


def apply_tally(model: list[str], folder: str, task: int) -> tuple[int, int]:
    return tally(folder, task)


def apply_badly(model: list[str], folder: str, task: int) -> int:
    raise DataError(f"shard-{task}: the model gave nan")


def arrow_threads(context: None, task: int) -> int:
    return pa.cpu_count()


def nap(folder: str, task: int) -> int:
    Path(folder, str(task)).touch()
    time.sleep(0.5)
    return task


def identity(context: None, task: int) -> int:
    return task


def size_of(context: bytes, task: int) -> int:
    return len(context)


def count_and_fail(folder: str, task: int) -> int:
    _attempt(folder, task)
    raise FileNotFoundError("gone")


def apply_die(model: list[str], folder: str, task: int) -> int:
    return die(folder, task)
