"""The engine in this process: threads over kernels that release the GIL."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import count, islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic

import pyarrow as pa

from operators.kernels import room
from pipeline.allotment import check_machine, derived
from pipeline.devices import here
from pipeline.engine import SHARING, STOP_S, C, M, R, Resources, T, call, packed, usable_cpus
from pipeline.errors import Interrupted
from pipeline.memory import keep_freed

if TYPE_CHECKING:
    from pipeline.store import Store


class LocalEngine:
    """The reference engine and the default on one machine."""

    name: str = "local"

    def __init__(self, workers: int | None = None, memory: int | None = None) -> None:
        self._workers = workers or usable_cpus()
        self._memory = memory or derived(self._workers)
        if memory is not None:
            check_machine(memory, self._workers)
        self._room = room.allowed()
        room.allow(self._memory)
        keep_freed(self._memory * self._workers)
        self._fetched_bytes = 0
        # Arrow decodes Parquet in a pool of its own, sized by the machine: `workers` bounds it too.
        self._arrow_cpus = pa.cpu_count()
        pa.set_cpu_count(self._workers)

    @property
    def fetched_bytes(self) -> int:
        """Pickled results so far: what Ray would have fetched."""
        return self._fetched_bytes

    @property
    def workers(self) -> int:
        """Threads that run tasks."""
        return self._workers

    @property
    def memory(self) -> int:
        """Bytes for each of them."""
        return self._memory

    def run(self, fn: Callable[[C, T], R], context: C, tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yields (i, fn(context, tasks[i])) as they finish (see Engine.run)."""
        return self._drive(fn, lambda: partial(fn, context), tasks, self._workers)

    def score(
        self,
        load: Callable[[C], M],
        fn: Callable[[M, C, T], R],
        context: C,
        tasks: Sequence[T],
        resources: Resources,
    ) -> Iterator[tuple[int, R]]:
        """One model in this thread and one task after another, as torch has threads of its own;
        `resources.workers` threads with a copy each where it is given. A model on a GPU has two threads,
        of which one prepares (see Engine.score)."""
        copies = min(resources.workers or 1, max(1, len(tasks)))
        on_gpu = len(tasks) > 0 and resources.device is not None and here(resources.device) != "cpu"
        sharing = SHARING if on_gpu else 1
        started: list[M] = []
        threads = count()

        def start() -> Callable[[T], R]:
            """For one thread after another."""
            if next(threads) % sharing == 0:
                started.append(call(load, context))
                _limit_torch(max(1, self._workers // copies))
            return partial(fn, started[-1], context)

        return self._drive(fn, start, tasks, copies * sharing)

    def _drive(
        self,
        fn: Callable[..., R],
        start: Callable[[], Callable[[T], R]],
        tasks: Sequence[T],
        threads: int,
    ) -> Iterator[tuple[int, R]]:
        threads = min(threads, len(tasks))
        results = _here(start, tasks) if threads <= 1 else _Threads(start, tasks, threads).results()
        try:
            with closing(results):
                for index, result in results:
                    self._fetched_bytes += len(packed(fn, result))
                    yield index, result
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what is finished is kept: run the same command again") from None

    def check_store(self, store: Store) -> None:
        """Every thread sees what this process sees."""

    def close(self) -> None:
        """Gives Arrow its own number of threads back, and nobody has a budget any more."""
        pa.set_cpu_count(self._arrow_cpus)
        room.allow(self._room)


def _here(start: Callable[[], Callable[[T], R]], tasks: Sequence[T]) -> Generator[tuple[int, R], None, None]:
    """All tasks in the calling thread: one worker costs one core, and Ctrl-C stops it at once."""
    work = start() if len(tasks) else None
    for index, task in enumerate(tasks):
        if work is not None:
            yield index, call(work, task)


class _Threads(Generic[T, R]):
    """Threads of one run. They are daemons, unlike those of concurrent.futures, so that a long task
    cannot keep an interrupted process alive."""

    def __init__(self, start: Callable[[], Callable[[T], R]], tasks: Sequence[T], threads: int) -> None:
        self._start, self._tasks = start, tasks
        self._starting = threading.Lock()  # loaders of models are not safe to run side by side
        self._stopped = threading.Event()
        self._todo: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def results(self) -> Generator[tuple[int, R], None, None]:
        """At most two tasks a thread are handed out and not yet taken by the consumer."""
        waiting = iter(enumerate(self._tasks))
        for item in islice(waiting, 2 * len(self._threads)):
            self._todo.put(item)
        for thread in self._threads:
            thread.start()
        try:
            for _ in range(len(self._tasks)):
                index, result, error = self._done.get()
                if error is not None:
                    raise error
                yield index, result
                if (item := next(waiting, None)) is not None:  # type: ignore[assignment]
                    self._todo.put(item)
        finally:
            self._stop()

    def _work(self) -> None:
        index = -1
        try:
            with self._starting:
                work = None if self._stopped.is_set() else self._start()
            while work and (item := self._todo.get()) is not None and not self._stopped.is_set():
                index, task = item
                self._done.put((index, call(work, task), None))
        except BaseException as error:
            self._done.put((index, None, error))

    def _stop(self) -> None:
        """Hands out nothing more and gives running tasks a moment to end."""
        self._stopped.set()
        deadline = time.monotonic() + STOP_S
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _limit_torch(threads: int) -> None:
    """Keeps a model to its share of the CPUs; torch is loaded by whoever loads the model."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
