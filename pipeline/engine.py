"""What an engine promises: tasks run, results come as they finish, the first error stops all."""

from __future__ import annotations

import difflib
import math
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline.errors import ConfigError, DataError
from pipeline.groups import levels

if TYPE_CHECKING:
    from pipeline.store import Store

C = TypeVar("C")  # context: what all tasks of one run share
T = TypeVar("T")  # task
M = TypeVar("M")  # model
R = TypeVar("R")  # result

ENGINES = ("local", "ray")
# Results say what was committed to the store, they do not carry it: the driver's memory and network
# must not grow with the corpus. Both engines refuse more, so that what runs on one runs on the other.
MAX_RESULT_BYTES = 64 << 10
# Tasks at a time that share a model on a GPU: one computes while the other reads and tokenises.
SHARING = 2
STOP_S = 5.0  # how long an engine that stops waits for tasks that are running


@dataclass(frozen=True)
class Resources:
    """What a node may use; execution only, never part of its identity.

    workers: model copies. gpus: GPUs per copy, a fraction shares one. batch: rows a batch.
    device: a torch device.
    """

    workers: int | None = None
    gpus: float = 0.0
    batch: int | None = None
    device: str | None = None


class Engine(Protocol):
    """Runs module-level functions over tasks, at most a bounded number of them in flight.

    `run` and `score` are generators: nothing starts before the first `next`, closing one stops its
    tasks. They yield (task number, result) in order of completion, each task exactly once, or raise:
    an exception of a task stops the others and arrives with its own class; Ctrl-C gives Interrupted.
    A task must be idempotent: where a worker dies it runs again.
    """

    name: str

    @property
    def fetched_bytes(self) -> int:
        """Pickled results that reached the driver so far."""
        ...

    @property
    def workers(self) -> int:
        """Tasks that run at one time."""
        ...

    @property
    def memory(self) -> int:
        """Bytes that each of these may take, beyond what its process stands on (see kernels/room)."""
        ...

    def run(self, fn: Callable[[C, T], R], context: C, tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yields (i, fn(context, tasks[i])). Raises what fn raises, ResourceError, Interrupted."""
        ...

    def score(
        self,
        load: Callable[[C], M],
        fn: Callable[[M, C, T], R],
        context: C,
        tasks: Sequence[T],
        resources: Resources,
    ) -> Iterator[tuple[int, R]]:
        """Yields (i, fn(model, context, tasks[i])), the model from load(context) once per copy; fn is
        called by SHARING threads at a time for a copy on a GPU, by one for a copy on the CPU.

        Raises what load and fn raise, ResourceError, Interrupted."""
        ...

    def check_store(self, store: Store) -> None:
        """Raises ResourceError unless every worker reads and writes this same store."""
        ...

    def close(self) -> None:
        """Ends what the engine started; it cannot be used again."""
        ...


def make_engine(
    name: str, workers: int | None = None, address: str | None = None, memory: int | None = None
) -> Engine:
    """The engine of that name. workers: tasks at one time (None: all CPUs it may use). memory: bytes for each
    (None: what the machine, or the cluster's nodes, have for each).

    address: of a Ray cluster ("local" starts a private one; None: the one this process is in, else
    $RAY_ADDRESS, else one on this machine, else a private one). Raises ConfigError, ResourceError.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; it must be at least 1")
    if name == "local":
        if address is not None:
            raise ConfigError(f"an address ({address}) needs the engine 'ray'; the engine is 'local'")
        from pipeline.local_engine import LocalEngine

        return LocalEngine(workers, memory)
    if name == "ray":
        try:
            from pipeline.ray_engine import RayEngine
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            raise ConfigError("engine 'ray' needs Ray: pip install 'tamis[ray]'") from error
        return RayEngine(workers, address, memory)
    near = difflib.get_close_matches(name, ENGINES, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(ENGINES)}"
    raise ConfigError(f"no engine '{name}'; {hint}")


def call(fn: Callable[..., R], *args: Any) -> R:
    """fn(*args), where an exit cannot pass for success."""
    try:
        return fn(*args)
    except SystemExit as error:
        raise DataError(f"{title(fn)} called sys.exit({error.code!r}) on {brief(args[-1])}") from error


def packed(fn: Callable[..., R], result: R) -> bytes:
    """A task's result as bytes. Raises RuntimeError when it is no small result."""
    data = pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
    if len(data) > MAX_RESULT_BYTES:
        raise RuntimeError(
            f"internal error: {title(fn)} returned {len(data)} bytes; a task may return {MAX_RESULT_BYTES} "
            "(it should commit its data to the store and return where it lies)"
        )
    return data


def title(fn: Callable[..., Any]) -> str:
    """A function's name for an error message."""
    fn = getattr(fn, "func", fn)  # of a partial
    return f"{fn.__module__}.{fn.__qualname__}" if hasattr(fn, "__qualname__") else repr(fn)


def brief(task: Any) -> str:
    """A task for an error message."""
    text = repr(task)
    return text if len(text) <= 200 else f"{text[:197]}..."


def usable_cpus(proc: str = "/proc/self/cgroup", groups: str = "/sys/fs/cgroup") -> int:
    """The CPUs this process may use: its affinity and its container's quota, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (found for level in levels("cpu", Path(proc), Path(groups)) for found in _quota(level))
    quota = min(quotas, default=math.inf)
    return max(1, min(count, math.ceil(quota) if quota < count else count))


def _quota(folder: Path) -> Iterator[float]:
    """The CPU quota of a control group, in CPUs, where it has one."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        if limit != "max" and int(limit) > 0:
            yield int(limit) / int(period)
    except (OSError, ValueError):
        return
