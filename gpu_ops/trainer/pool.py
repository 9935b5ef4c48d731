"""Runs training jobs in a few processes that stay alive from job to job."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from gpu_ops.trainer.job import Died, Job

Progress = Callable[[dict[str, Any]], None]
CLOSE_S = 10.0  # how long a process may take to end
_worker: dict[str, Any] = {}  # set once in each worker process: device, events, stop


class Pool:
    """`workers` spawned processes, each with a device of its own in turn; they start when there is work. With
    one worker the jobs run in this process."""

    def __init__(self, workers: int, device: str, threads: int) -> None:
        self.workers, self.device, self.threads = workers, device, threads
        self._executor: ProcessPoolExecutor | None = None
        if workers > 1:
            context = multiprocessing.get_context("spawn")
            self._events: Any = context.Queue()
            self._stop: Any = context.Value("b", False, lock=False)  # a lock may die with its holder
            turn = context.Value("i", 0)
            arguments = (device, threads, turn, self._events, self._stop)
            self._executor = ProcessPoolExecutor(workers, context, _start, arguments)

    def warm_up(self) -> None:
        """Lets the processes load torch while this one does something else."""
        if self._executor is not None:
            for _ in range(self.workers):
                self._executor.submit(_warm_up)

    def run(self, jobs: Sequence[Job], progress: Progress) -> list[dict[str, Any]]:
        """The jobs' results, in order. The first failure stops the others at their next step and is
        raised, with the worker's traceback as its cause."""
        if not jobs:
            return []
        if self._executor is None:
            return _run_here(jobs, self.device, self.threads, progress)
        futures = [self._executor.submit(_run_job, job) for job in jobs]
        try:
            self._wait(futures, progress)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise Died(
                "a training process died without a traceback, most likely for want of memory; "
                "run again to go on from the last checkpoints, with fewer workers or a smaller batch_size"
            ) from error

    def results(self, jobs: Sequence[Job], progress: Progress) -> list[dict[str, Any]]:
        """The jobs' results in order; those that were finished before are read, not made again."""
        found = {job.folder: job.finished() for job in jobs}
        left = [job for job in jobs if found[job.folder] is None]
        found.update(zip([job.folder for job in left], self.run(left, progress), strict=True))
        return [result for job in jobs if (result := found[job.folder]) is not None]

    def _wait(self, futures: list[Future[dict[str, Any]]], progress: Progress) -> None:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            self._drain(progress)
            for future in done:
                future.result()
        self._drain(progress)

    def _drain(self, progress: Progress) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            progress(event)

    def close(self) -> None:
        """Stops what still runs at its next step and ends the processes, those that take long by force: what
        they did since their last checkpoint is done again in any case."""
        if self._executor is None:
            return
        self._stop.value = True
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + CLOSE_S
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            # It may wait for a lock that one which was killed has taken along.
            process.kill()
            process.join()
        self._events.close()


def _start(device: str, threads: int, turn: Any, events: Any, stop: Any) -> None:
    with turn.get_lock():
        number, turn.value = turn.value, turn.value + 1
    threading.Thread(target=_die_with_parent, daemon=True).start()
    events.cancel_join_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and says when to stop
    _worker.update(device=device, number=number, threads=threads, events=events, stop=stop)


def _die_with_parent() -> None:
    """Else the processes of a driver that was killed would train on beside those of the next one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _warm_up() -> None:
    import transformers.models.llama.modeling_llama  # noqa: F401

    import gpu_ops.trainer.run  # noqa: F401


def _run_job(job: Job) -> dict[str, Any]:
    from gpu_ops.trainer.launch import train_job

    here = (_worker["device"], _worker["threads"])
    stop = _worker["stop"]
    return train_job(job, *here, _worker["events"].put, lambda: bool(stop.value), _worker["number"])


def _run_here(jobs: Sequence[Job], device: str, threads: int, progress: Progress) -> list[dict[str, Any]]:
    from gpu_ops.trainer.launch import train_job

    return [train_job(job, device, threads, progress) for job in jobs]


def resolve_device(device: str, number: int) -> str:
    """auto: the GPUs in turn, else the CPU. ValueError for a device that is not there."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device != "auto":
        known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{n}" for n in range(count))]
        if device not in known:
            raise ValueError(f"device: {device!r} is not there; this machine has {', '.join(known)}")
        return device
    return f"cuda:{number % count}" if count else "cpu"
