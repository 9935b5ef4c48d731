"""Starts what trains one job: this process, several of this machine, those of torchrun, or Ray Train's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gpu_ops.trainer.config_parts import Parallel
from gpu_ops.trainer.job import Died, Job
from gpu_ops.trainer.pool import resolve_device

Progress = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]


def train_job(
    job: Job,
    device: str = "auto",
    threads: int = 1,
    progress: Progress = lambda event: None,
    stop: Stop = lambda: False,
    number: int = 0,
) -> dict[str, Any]:
    """Trains one job with as many processes as its config says, or goes on from its last checkpoint, with
    however many that was written; returns the result. threads: of torch, in each. number: which device this
    process takes where it is one of several that train jobs of their own.

    Several processes come from torchrun where it has started this one (RANK and WORLD_SIZE say so; all of
    them call this and get the result), else from Ray Train or from here (see `Parallel.launcher`).

    Raises Stopped when `stop` says so, FloatingPointError when the loss is no longer finite, OSError when a
    checkpoint cannot be written, RuntimeError when a process dies; an error of one process ends the others,
    and has a note that says which one it was and its traceback as its cause."""
    from gpu_ops.trainer.run import train

    parallel = job.config.parallel
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return _of_torchrun(job, device, threads, progress, stop)
    if parallel is None or parallel.processes == 1:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return train(job, resolve_device(device, number), progress, stop)
        finally:
            torch.set_num_threads(before)
    if parallel.launcher == "ray" or (parallel.launcher == "auto" and in_a_cluster()):
        from gpu_ops.trainer.launch_ray import train_on_ray

        return train_on_ray(job, parallel, device, threads, progress, stop)
    return Group(job, parallel, device, threads).run(progress, stop)


def in_a_cluster() -> bool:
    """Whether this process is in a Ray cluster."""
    try:
        import ray
    except ModuleNotFoundError:
        return False
    return bool(ray.is_initialized())


def _of_torchrun(job: Job, device: str, threads: int, progress: Progress, stop: Stop) -> dict[str, Any]:
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return work(job, device, threads, (rank, size, "env://"), progress, stop)


def work(
    job: Job, device: str, threads: int, place: tuple[int, int, str] | None, progress: Progress, stop: Stop
) -> dict[str, Any]:
    """What each of the processes does. place: (rank, size, where they meet); None where they have met."""
    import torch

    from gpu_ops.trainer.processes import join, placed, world_of
    from gpu_ops.trainer.run import Stopped, train

    torch.set_num_threads(threads)
    device = placed(device)
    if place is not None:
        join(*place, (job.config.parallel or Parallel()).timeout_s, device)
    try:
        result = train(job, device, progress, stop, world_of(job.config, device))
    except Stopped:
        _leave(place)
        raise
    _leave(place)
    return result


def _leave(place: tuple[int, int, str] | None) -> None:
    """Leaves the group that `work` has joined. Not after an error: others may be waiting in it."""
    from torch import distributed

    if place is not None:
        distributed.destroy_process_group()


@dataclass
class Group:
    """Processes of this machine that train one job. The first that fails ends the others."""

    job: Job
    parallel: Parallel
    device: str
    threads: int
    result: dict[str, Any] | None = None
    failures: list[tuple[int, BaseException, str]] = field(default_factory=list)

    def run(self, progress: Progress, stop: Stop) -> dict[str, Any]:
        """Starts them, listens until all are done."""
        size = self.parallel.processes
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as folder:
            pipes = [context.Pipe() for _ in range(size)]
            arguments = (self.job, self.device, self.threads, size, f"file://{folder}/meeting")
            workers = [
                context.Process(target=_start, args=(rank, theirs, *arguments), name=f"train-{rank}")
                for rank, (_, theirs) in enumerate(pipes)
            ]
            for worker, (_, theirs) in zip(workers, pipes, strict=True):
                worker.start()
                theirs.close()  # so that the end of the process ends the pipe
            ours = [pipe for pipe, _ in pipes]
            try:
                self._listen(workers, ours, progress, stop)
            finally:
                for worker in workers:
                    worker.terminate()
                for worker in workers:
                    worker.join()
        if self.result is None:
            self._raise(workers)
        assert self.result is not None
        return self.result

    def _listen(self, workers: list[Any], ours: list[Connection], progress: Progress, stop: Stop) -> None:
        asked = False
        open_ = dict(enumerate(ours))
        while open_ and not self.failures and not any(worker.exitcode for worker in workers):
            for pipe in wait(list(open_.values()), timeout=0.1):
                rank = next(number for number, other in open_.items() if other is pipe)
                try:
                    kind, what = open_[rank].recv()
                except EOFError:
                    workers[rank].join()
                    del open_[rank]
                    continue
                if kind == "progress":
                    progress(what)
                elif kind == "failed":
                    self.failures.append((rank, *what))
                elif rank == 0:
                    self.result = what
            if stop() and not asked:
                asked = True
                for pipe in open_.values():
                    with suppress(OSError):
                        pipe.send("stop")

    def _raise(self, workers: list[Any]) -> None:
        """The error of the process that failed first, which is the cause of those of the others."""
        name, size = self.job.name, self.parallel.processes
        if self.failures:
            rank, error, text = self.failures[0]
            raise told(error, f"process {rank} of {size}", text)
        # Those that this process has ended have SIGTERM.
        died = [(w.exitcode, r) for r, w in enumerate(workers) if w.exitcode not in (0, -signal.SIGTERM)]
        code, rank = min(died, default=(1, 0))
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"
        raise Died(
            f"{name}: process {rank} of {size} {how} without a traceback, most likely for want of memory; "
            "run again to go on from the last checkpoint, with a smaller micro_batch or with fsdp"
        )


def _start(rank: int, pipe: Connection, job: Job, device: str, threads: int, size: int, meeting: str) -> None:
    """One process of a group. A message from the other end, or its end, is a wish to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and says when to stop
    os.environ["LOCAL_RANK"] = str(rank)
    try:
        result = work(
            job, device, threads, (rank, size, meeting), lambda e: pipe.send(("progress", e)), pipe.poll
        )
        pipe.send(("done", result))
    except Exception as error:
        with suppress(OSError):
            pipe.send(("failed", (portable(error), traceback.format_exc())))
        raise SystemExit(1) from None


def portable(error: Exception) -> Exception:
    """An error that can be unpickled where it goes."""
    known = type(error).__module__.partition(".")[0] in ("builtins", "gpu_ops")
    return error if known else RuntimeError(f"{type(error).__name__}: {error}")


def told(error: BaseException, process: str, text: str) -> BaseException:
    """The error of another process, with its name and its traceback."""
    error.add_note(f"in {process}")
    error.__cause__ = RuntimeError(f"{process}:\n{text}")
    return error


def check_paths(job: Job) -> None:
    """FileNotFoundError where this machine does not see the job's files."""
    for path in (f"{job.tokens}.ids", job.held, job.config.init, job.config.tokenizer_folder):
        if path and not Path(path).exists():
            raise FileNotFoundError(path)
