"""What comes back from Ray: results, exceptions as they were, and the deaths of workers, counted."""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from pipeline.engine import STOP_S, brief
from pipeline.errors import Interrupted, ResourceError
from pipeline.ray_gate import REFUSED
from pipeline.ray_worker import Failure
from pipeline.runlog import event

MAX_RETRIES = 5  # of one task, after as many deaths of its worker
TICK_S = 5.0  # how long to wait for a reply before the cluster is looked at again
LOADING = -1  # the "task" of a model that loads


@dataclass(frozen=True)
class Lost:
    """No reply: the worker or its node died, or was killed for want of memory."""

    error: RayError


class Replies:
    """Fetches replies and counts their bytes."""

    def __init__(self) -> None:
        self.fetched_bytes = 0

    def fetch(self, ref: ray.ObjectRef[bytes]) -> Any:
        """A task's result, or Lost. Raises what the task raised."""
        try:
            data = ray.get(ref)
        except RayTaskError as error:
            raise ResourceError(
                "a Ray worker could not run tamis at all: the same versions of tamis, its dependencies and "
                f"Python must be on every node\n{error.traceback_str}"
            ) from None
        except RayError as error:
            return Lost(error)
        self.fetched_bytes += len(data)
        value = opened(data)
        if isinstance(value, Failure):
            raise value.exception()
        return value


def pickled(task: Any) -> bytes:
    """A task for a worker, to be opened when the node has shown that it has our software."""
    data: bytes = ray.cloudpickle.dumps(task)  # type: ignore[no-untyped-call]
    return data


def opened(data: bytes) -> Any:
    """An answer of our own worker. Raises ResourceError where the node was refused."""
    if data.startswith(REFUSED):
        raise ResourceError(data.removeprefix(REFUSED).decode())
    return pickle.loads(data)


class Deaths:
    """How often a worker died over each task of a run."""

    def __init__(self, what: str, tasks: Any) -> None:
        self._what, self._tasks = what, tasks
        self._count: Counter[int] = Counter()

    def add(self, index: int, lost: Lost) -> int:
        """The deaths over this task so far. Raises ResourceError when they are too many."""
        self._count[index] += 1
        said = str(lost.error).strip().splitlines() or [""]
        event(
            "worker_died", f"{self._what}: {said[0]}", logging.WARNING,
            task=index, deaths=self._count[index], again=self._count[index] <= MAX_RETRIES,
        )  # fmt: skip
        if self._count[index] <= MAX_RETRIES:
            return self._count[index]
        where = "while the model loaded"
        if index != LOADING:
            where = f"on task {index + 1} of {len(self._tasks)}, {brief(self._tasks[index])}"
        reason = str(lost.error).strip().splitlines() or [type(lost.error).__name__]
        raise ResourceError(
            f"{self._what}: the Ray worker died {self._count[index]} times {where}; "
            f"{_advice(lost.error)}. Finished work is kept: run the same command again. Ray says: {reason[0]}"
        ) from lost.error

    def forget(self, index: int) -> None:
        """This one went well."""
        self._count.pop(index, None)


def _advice(error: RayError) -> str:
    less = "give tasks less memory (--memory 512MiB), fewer workers (--workers 1), or nodes with more of it"
    if isinstance(error, OutOfMemoryError):
        return f"its node ran out of memory, also with fewer tasks beside it: {less}"
    return f"most often the system killed it for want of memory ({less}), else native code crashed"


def ready(refs: Collection[ray.ObjectRef[bytes]]) -> list[ray.ObjectRef[bytes]]:
    """The replies that are there; waits for the first one, at most TICK_S."""
    first, others = ray.wait(list(refs), num_returns=1, timeout=TICK_S)
    if first and others:
        first += ray.wait(others, num_returns=len(others), timeout=0)[0]
    return list(first)


def await_all(pending: Collection[ray.ObjectRef[bytes]]) -> None:
    """Gives what is handed out a moment to end. Not `ray.cancel`: where the task ends at that very moment,
    a failed check of Ray's aborts this process (2.60: "Tried to complete task that was not pending")."""
    if pending and ray.is_initialized():
        ray.wait(list(pending), num_returns=len(pending), timeout=STOP_S)


def interrupted() -> Interrupted:
    """What Ctrl-C becomes."""
    return Interrupted("interrupted; what is finished is kept: run the same command again")
