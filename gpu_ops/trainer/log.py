"""Where a run's figures go: JSON lines, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_ops.trainer.config_parts import Unfit
from gpu_ops.trainer.files import placed
from gpu_ops.trainer.job import Job

METRICS, SPEED = "metrics.jsonl", "speed.jsonl"


class Log:
    """`metrics.jsonl` holds what is the same whenever the run is done again (losses, rates, evaluations),
    `speed.jsonl` what is not (seconds, tokens/s, MFU, memory); both by step. TensorBoard and W&B get both,
    where the config's `log` names them. `writes`: whether this process is the one that does."""

    def __init__(self, job: Job, step: int, writes: bool = True) -> None:
        folder = Path(job.folder)
        names = [folder / name if writes else Path(os.devnull) for name in (METRICS, SPEED)]
        self._metrics, self._speed = (_opened(name, step) for name in names)
        shown = job.config.log if writes and not job.untrained else ()
        self._board = _tensorboard(folder, step) if "tensorboard" in shown else None
        self._wandb = _wandb(job) if "wandb" in shown else None

    def metrics(self, row: Mapping[str, Any]) -> None:
        self._metrics.write(json.dumps(row) + "\n")
        self._show(row)

    def speed(self, row: Mapping[str, Any]) -> None:
        self._speed.write(json.dumps(row) + "\n")
        self._show(row)

    def _show(self, row: Mapping[str, Any]) -> None:
        figures = dict(_numbers(row))
        step = figures.pop("step")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(figures, step=int(step))

    def sync(self) -> None:
        """What was written is on the disk."""
        for file in (self._metrics, self._speed):
            file.flush()
            if file.name != os.devnull:
                os.fsync(file.fileno())

    def close(self) -> None:
        self._metrics.close()
        self._speed.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a log, without one that a death cut short."""
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _opened(path: Path, step: int) -> Any:
    """The log without the rows after a step, which are made again."""
    if path.is_file():
        kept = [row for row in whole_lines(path) if row["step"] <= step]
        with placed(path) as file:
            file.writelines(f"{json.dumps(row)}\n".encode() for row in kept)
    return path.open("a", encoding="utf-8")


def _numbers(row: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a row, those of nested ones as `domains/python`."""
    found: list[tuple[str, float]] = []
    for name, value in row.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((f"{prefix}{name}", value))
    return found


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "log: [tensorboard] needs the package tensorboard; pip install 'tamis[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


def _wandb(job: Job) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ModuleNotFoundError("log: [wandb] needs the package wandb; pip install wandb") from error
    config = {"arm": job.arm, "seed": job.seed, **job.config.model_dump()}
    try:
        return wandb.init(
            project="tamis", name=job.name, id=job.identity, resume="allow", dir=job.folder, config=config
        )
    except wandb.Error as error:
        raise Unfit(f"log: [wandb]: {error}; log in with `wandb login`, or set WANDB_MODE=offline") from error
