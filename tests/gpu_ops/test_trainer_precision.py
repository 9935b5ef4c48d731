"""The trainer's number formats: float64 for exactness, float16 with scaled losses and steps left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gpu_ops.trainer import evaluate, network, run
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.precision import Precision
from gpu_ops.trainer.stream import Vocabulary, tokenise

torch.set_num_threads(1)
STORIES = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
SHAPE = LlamaShape(hidden=16, layers=2, heads=2, kv_heads=1)


def job_of(folder: Path, name: str = "run", **fields) -> Job:
    start = {"model": SHAPE, "tokenizer": STORIES, "tokens": 192, "seq_len": 16, "batch_size": 2, "evals": 2}
    config = TrainConfig(**{**start, "lr": 1e-2, **fields})
    data = folder / "data"
    if not data.exists():
        data.mkdir()
        texts = [f"Once there was a dog. The dog ran to tree number {i}. " * (1 + i % 3) for i in range(12)]
        pq.write_table(pa.table({"text": texts}), data / "part-0.parquet")
    vocabulary = Vocabulary.load(STORIES)
    _, tokens = tokenise(str(data), vocabulary, folder)
    held = folder / f"held-{config.seq_len}.npz"
    evaluate.held_out(str(data), vocabulary, config.seq_len)[1].save(held)
    return Job("arm", 3, config, tokens, str(held), True, 512, str(folder / name), False, name)


def rows(job: Job) -> list[dict]:
    lines = (Path(job.folder) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def ignore(event: dict) -> None:
    pass


def test_float64_runs_in_float64_and_micro_batches_add_up_exactly(tmp_path):
    whole, parts = (
        job_of(tmp_path, str(size), dtype="float64", batch_size=4, micro_batch=size) for size in (None, 1)
    )
    for job in (whole, parts):
        run.train(job, "cpu", ignore)
    built = network.build(whole.config, 512, 0, "cpu")
    assert {p.dtype for p in built.parameters()} == {torch.float64}
    got, want = ([row["loss"] for row in rows(job)] for job in (parts, whole))
    assert got == pytest.approx(want, rel=1e-9)
    assert got[0] != float(np.float32(got[0]))  # it was not rounded on the way


def test_float64_is_near_float32(tmp_path):
    one, two = (job_of(tmp_path, dtype, dtype=dtype) for dtype in ("float32", "float64"))
    a, b = (run.train(job, "cpu", ignore)["curve"][-1]["all"] for job in (one, two))
    assert a == pytest.approx(b, rel=1e-4)


def test_float16_is_near_float32(tmp_path):
    one, two = (job_of(tmp_path, dtype, dtype=dtype) for dtype in ("float32", "float16"))
    a, b = (run.train(job, "cpu", ignore)["curve"][-1]["all"] for job in (one, two))
    assert a == pytest.approx(b, rel=0.02)
    assert all(row["loss_scale"] > 0 for row in rows(two))


def test_a_step_that_overflows_is_left_out_and_logged(tmp_path, monkeypatch):
    """A scale of 2^24 overflows until it has been halved often enough; the weights wait for that."""
    job = job_of(tmp_path, dtype="float16", tokens=2048)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda kind, enabled: SCALER(kind, 2.0**24, enabled=enabled))
    result = run.train(job, "cpu", ignore)
    skipped = [row["skipped"] for row in rows(job)]
    assert (skipped[0], skipped[-1]) == (1.0, 0.0)
    assert [row["gradient_norm"] is None for row in rows(job)] == [bool(s) for s in skipped]
    assert np.isfinite(result["curve"][-1]["all"])


SCALER = torch.amp.GradScaler


def test_a_step_left_out_changes_no_weight():
    config = TrainConfig(init="x", tokens=1, dtype="float16")
    precision = Precision(config, "cpu")
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    before = layer.weight.detach().clone()
    precision.backward(layer(torch.full((1, 2), 1e35)).sum())
    told = precision.step(layer, optimizer, 1.0)
    assert told == {"gradient_norm": None, "loss_scale": 2.0**15, "skipped": 1.0}
    assert torch.equal(layer.weight, before)
    optimizer.zero_grad()
    precision.backward(layer(torch.ones(1, 2)).sum())
    assert precision.step(layer, optimizer, 1.0)["skipped"] == 0.0
    assert not torch.equal(layer.weight, before)


def test_gradients_that_overflow_at_every_scale_stop_the_run():
    precision = Precision(TrainConfig(init="x", tokens=1, dtype="float16"), "cpu")
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)

    def forever() -> None:
        for _ in range(60):
            precision.backward(layer(torch.full((1, 1), torch.inf)).sum())
            precision.step(layer, optimizer, 1.0)
            optimizer.zero_grad()

    with pytest.raises(FloatingPointError, match="take bfloat16 or float32"):
        forever()


def test_the_scale_goes_on_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.amp, "GradScaler", lambda kind, enabled: SCALER(kind, 2.0**22, enabled=enabled))
    fields = {"dtype": "float16", "checkpoint_every": 3, "tokens": 640}
    whole, killed = (job_of(tmp_path, name, **fields) for name in ("whole", "killed"))
    run.train(whole, "cpu", ignore)
    events: list[dict] = []
    with pytest.raises(run.Stopped):
        run.train(killed, "cpu", events.append, lambda: len(events) == 8)
    run.train(killed, "cpu", ignore)
    assert rows(killed) == rows(whole)
