"""Two processes that have met, for tests of what several do together; started once, as they load torch."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Pair:
    """Functions of modules in tests/ run in both at once; they share a gloo group."""

    def __init__(self, folder: Path, size: int = 2) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(size)]
        self._pipes = [pipe for pipe, _ in pipes]
        self._workers = [
            context.Process(target=_serve, args=(rank, size, str(folder), theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for worker, (_, theirs) in zip(self._workers, pipes, strict=True):
            worker.start()
            theirs.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What function(*arguments) gives in each. RuntimeError with the first traceback."""
        for pipe in self._pipes:
            pipe.send((function, arguments))
        found = [pipe.recv() for pipe in self._pipes]
        for rank, (good, what) in enumerate(found):
            if not good:
                raise RuntimeError(f"rank {rank}:\n{what}")
        return [what for _, what in found]

    def close(self) -> None:
        for worker in self._workers:
            worker.terminate()
            worker.join()


def _serve(rank: int, size: int, folder: str, pipe: Connection) -> None:
    import torch

    from gpu_ops.trainer.processes import join

    torch.set_num_threads(1)
    join(rank, size, f"file://{folder}/meeting", 60, "cpu")
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, function(*arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
