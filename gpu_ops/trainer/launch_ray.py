"""Trains one job with processes of a Ray cluster, through Ray Train's TorchTrainer."""

from __future__ import annotations

import secrets
import shutil
import socket
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpu_ops.trainer.config_parts import Parallel
from gpu_ops.trainer.job import Died, Job
from gpu_ops.trainer.launch import Progress, Stop, check_paths, portable, told, work

POLL_S = 0.2
Message = tuple[str, int, Any]


class Board:
    """Where the processes leave messages for the driver, and it a wish to stop; one actor of the cluster."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._stopped = False

    def tell(self, message: Message) -> bool:
        """Leaves a message; whether to stop."""
        self._messages.append(message)
        return self._stopped

    def take(self) -> list[Message]:
        found, self._messages = self._messages, []
        return found

    def stop(self) -> None:
        self._stopped = True


def train_on_ray(
    job: Job, parallel: Parallel, device: str, threads: int, progress: Progress, stop: Stop
) -> dict[str, Any]:
    """As `train_job`. The run's folder and its data have to be where all machines of the cluster see them.

    RuntimeError when the cluster is too small, when Ray Train is not installed, or when a process fails."""
    import ray

    trainer_of = _trainer()
    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=False)
    use_gpu = device != "cpu" and _capacity("GPU") >= parallel.processes
    if device.startswith("cuda") and not use_gpu:
        raise RuntimeError(f"{job.name}: {parallel.processes} processes need as many GPUs; {_have()}")
    if not use_gpu and _capacity("CPU") < parallel.processes * threads:
        raise RuntimeError(
            f"{job.name}: {parallel.processes} processes of {threads} threads need as many CPUs; {_have()}"
        )
    folder = Path(job.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = folder.parent / f".{folder.name}-{secrets.token_hex(8)}"
    mark.write_text(mark.name, "utf-8")
    board: Any = ray.remote(Board).options(num_cpus=0).remote()
    arguments = {"job": job, "device": "cuda" if use_gpu else "cpu", "threads": threads}
    trainer = trainer_of({**arguments, "mark": str(mark), "board": board}, parallel, use_gpu, threads, folder)
    try:
        messages = _fit(trainer, board, progress, stop)
    finally:
        mark.unlink(missing_ok=True)
        shutil.rmtree(folder.parent / _storage(folder), ignore_errors=True)
        ray.kill(board)
    return _outcome(job, parallel, messages)


def _trainer() -> Callable[..., Any]:
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:  # ray.train names what it misses
        raise RuntimeError(
            f"training on a Ray cluster needs Ray Train ({error}): pip install 'ray[train]', or say "
            "parallel: {launcher: local}"
        ) from error

    def make(arguments: dict[str, Any], parallel: Parallel, use_gpu: bool, threads: int, folder: Path) -> Any:
        backend = "cpu:gloo,cuda:nccl" if use_gpu else "gloo"
        return TorchTrainer(
            _on_worker,
            train_loop_config=arguments,
            torch_config=TorchConfig(backend=backend, timeout_s=int(max(1, parallel.timeout_s))),
            scaling_config=ScalingConfig(
                num_workers=parallel.processes, use_gpu=use_gpu, resources_per_worker={"CPU": threads}
                | ({"GPU": 1} if use_gpu else {}),
            ),
            run_config=RunConfig(
                name=_storage(folder), storage_path=str(folder.parent.absolute()),
                failure_config=FailureConfig(max_failures=0),
            ),
        )  # fmt: skip

    return make


def _storage(folder: Path) -> str:
    """The folder for Ray's own files, beside the run's."""
    return f".{folder.name}-ray"


def _capacity(kind: str) -> float:
    import ray

    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return there.get(kind, 0.0)


def _have() -> str:
    return (
        f"the cluster has {_capacity('CPU'):g} CPUs and {_capacity('GPU'):g} GPUs; ask for fewer, or say "
        "parallel: {launcher: local}"
    )


def _fit(trainer: Any, board: Any, progress: Progress, stop: Stop) -> list[Message]:
    """Runs it; what was left on the board but for progress. An error of Ray's own is among them."""
    import ray

    found: list[Message] = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(trainer.fit)
        try:
            while True:
                ended = future.done()
                for message in ray.get(board.take.remote()):
                    if message[0] == "progress":
                        progress(message[2])
                    else:
                        found.append(message)
                if ended:
                    break
                if stop():
                    board.stop.remote()
                time.sleep(POLL_S)
        except BaseException:
            board.stop.remote()
            raise
    if future.exception() is not None and not any(kind == "failed" for kind, _, _ in found):
        error = future.exception()
        found.append(("failed", -1, (error, "", str(error))))
    return found


def _outcome(job: Job, parallel: Parallel, messages: list[Message]) -> dict[str, Any]:
    """The result, or the error of the process that failed first."""
    for kind, rank, what in messages:
        if kind != "failed":
            continue
        error, host, text = what
        if rank < 0:
            raise Died(
                f"{job.name}: a process died without a traceback, most likely for want of memory, or Ray "
                f"ended it; run again to go on from the last checkpoint ({error})"
            ) from error
        raise told(error, f"process {rank} of {parallel.processes} on {host}", text)
    result: dict[str, Any] = next(what for kind, _, what in messages if kind == "done")
    return result


def _on_worker(arguments: dict[str, Any]) -> None:
    """One process of the cluster, which Ray Train has brought together with the others."""
    import ray
    from ray.train.torch import get_device
    from torch import distributed

    board, job, rank = arguments["board"], arguments["job"], distributed.get_rank()
    replies: list[Any] = []

    def progress(event: dict[str, Any]) -> None:
        replies.append(board.tell.remote(("progress", rank, event)))

    def stop() -> bool:
        """What the board has answered by now; nobody waits for it."""
        ready, replies[:] = ray.wait(replies, num_returns=len(replies), timeout=0) if replies else ([], [])
        return any(ray.get(ready))

    try:
        _check_shared(Path(arguments["mark"]), job)
        device = str(get_device()) if arguments["device"] == "cuda" else "cpu"
        result = work(job, device, arguments["threads"], None, progress, stop)
    except Exception as error:
        what = (portable(error), socket.gethostname(), traceback.format_exc())
        with suppress(Exception):
            ray.get(board.tell.remote(("failed", rank, what)))
        raise
    if rank == 0:
        ray.get(board.tell.remote(("done", rank, result)))


def _check_shared(mark: Path, job: Job) -> None:
    """RuntimeError unless this machine sees the driver's folder."""
    try:
        seen = mark.read_text("utf-8") == mark.name
        check_paths(job)
    except FileNotFoundError as error:
        seen, missing = False, str(error)
    else:
        missing = str(mark)
    if not seen:
        raise RuntimeError(
            f"{socket.gethostname()} does not see what the driver sees ({missing}): processes on several "
            "machines need the run's folder and its data on a file system that all of them share, under the "
            "same path"
        )
