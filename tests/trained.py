"""Tiny training jobs, and what tests run of them in other processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from gpu_ops.trainer import evaluate, feeds, processes, run, update
from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.stream import Stream, Vocabulary, tokenise
from gpu_ops.trainer.world import Alone
from operators.kernels.counter import mix64

STORIES = str(Path(__file__).parents[1] / "configs/quickstart/stories260K")
SHAPE = LlamaShape(hidden=16, layers=2, heads=2, kv_heads=1)


def config_of(**fields: Any) -> TrainConfig:
    start: dict[str, Any] = {"tokens": 192, "seq_len": 16, "batch_size": 2, "lr": 1e-2, "evals": 2}
    if "init" not in fields:
        start |= {"model": SHAPE, "tokenizer": STORIES}
    return TrainConfig(**{**start, **fields})


def job_of(folder: Path, name: str, config: TrainConfig) -> Job:
    """A job of that name on two dozen small documents, which lie in `folder`."""
    data = folder / "data"
    if not data.exists():
        data.mkdir(parents=True)
        texts = [f"Once there was a dog. The dog ran to tree number {i}. " * (1 + i % 3) for i in range(24)]
        pq.write_table(pa.table({"text": texts, "domain": ["a", "b"] * 12}), data / "part-0.parquet")
    vocabulary = Vocabulary.load(STORIES)
    _, tokens = tokenise(str(data), vocabulary, folder)
    held = folder / f"held-{config.seq_len}.npz"
    if not held.exists():
        evaluate.held_out(str(data), vocabulary, config.seq_len)[1].save(held)
    return Job("arm", 3, config, tokens, str(held), True, 512, str(folder / name), False, "identity")


def rows_of(job: Job, *names: str) -> list[dict[str, Any]]:
    """The log; with `names` only those figures of the rows that have the first."""
    rows = [json.loads(line) for line in (Path(job.folder) / "metrics.jsonl").read_text().splitlines()]
    return [{n: row[n] for n in names} for row in rows if names[0] in row] if names else rows


def weights_of(job: Job) -> dict[str, torch.Tensor]:
    """What was exported."""
    return load_file(Path(job.folder) / "model" / "model.safetensors")


def ignore(event: dict[str, Any]) -> None:
    pass


class Ragged(Stream):
    """Rows that are learned from only at some of their tokens, of each another number."""

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        plain = super().batch(start, rows, seq_len)
        places = (start + np.arange(rows * seq_len)).reshape(rows, seq_len)
        lucky = mix64(places.astype(np.uint64)) % np.uint64(8) < np.uint64(start // seq_len % 7 + 1)
        lucky |= places % seq_len == 0
        return Batch(plain.inputs, np.where(lucky, plain.targets, IGNORED), plain.rows)


def train_ragged(job: Job, alone: bool = False) -> dict[str, Any]:
    """Trains on rows with unequal numbers of targets, as one of the processes that have met."""
    torch.set_num_threads(1)
    feeds.Stream = Ragged  # type: ignore[misc]
    try:
        return run.train(job, "cpu", ignore, world=None if alone else processes.world_of(job.config, "cpu"))
    finally:
        feeds.Stream = Stream  # type: ignore[misc]


def gradients(job: Job, alone: bool = False) -> dict[str, np.ndarray]:
    """The gradient of the first step by parameter, and its loss."""
    torch.set_num_threads(1)
    world = Alone() if alone else processes.world_of(job.config, "cpu")
    feeds.Stream = Ragged  # type: ignore[misc]
    try:
        sitting, _ = run._prepare(job, "cpu", world)
    finally:
        feeds.Stream = Stream  # type: ignore[misc]
    drawn = sitting.draw.next(0, lambda batch, needs: update._scores(sitting, batch, needs))
    loss, _ = update._gradients(sitting, drawn, 0)
    found = {n: full(p.grad).numpy() for n, p in sitting.network.named_parameters()}
    return {**found, "loss": np.array(loss)}


def full(tensor: torch.Tensor) -> torch.Tensor:
    whole: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole


def stopped_after(job: Job, steps: int, alone: bool = False) -> list[int]:
    """Trains so many steps and is stopped; the steps that were told of."""
    torch.set_num_threads(1)
    world = None if alone else processes.world_of(job.config, "cpu")
    told: list[int] = []
    done = iter(range(1_000_000))
    try:
        run.train(job, "cpu", lambda e: told.append(e["step"]), lambda: next(done) == steps, world)
    except run.Stopped:
        return told
    raise AssertionError("it was not stopped")


def train(job: Job, alone: bool = False) -> dict[str, Any]:
    """Trains to the end, as one of the processes that have met."""
    torch.set_num_threads(1)
    return run.train(job, "cpu", ignore, world=None if alone else processes.world_of(job.config, "cpu"))


def with_config(job: Job, **fields: Any) -> Job:
    return replace(job, config=job.config.model_copy(update=fields))


def relative(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """The length of the difference of two vectors, by that of the second."""
    a, b = (np.concatenate([np.ravel(part).astype(np.float64) for part in parts]) for parts in (got, want))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
