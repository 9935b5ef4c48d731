"""One training run: a model, a stream of tokens, a schedule; resumable, and the same again bit for bit."""

from __future__ import annotations

import json
import math
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from gpu_ops.trainer import checkpoint, network
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.evaluate import HeldOut, evaluate
from gpu_ops.trainer.files import write_json
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.stream import Stream

BETAS = (0.9, 0.95)
LAST_LR = 0.1  # share of the peak that the cosine ends at


class Stopped(Exception):
    """The run was asked to stop; its last checkpoint stays."""


@dataclass
class _Run:
    """What the loop holds on to. spent: seconds by kind, over all sittings."""

    job: Job
    model: Any
    optimizer: torch.optim.Optimizer
    stream: Stream
    held: HeldOut
    device: str
    curve: list[dict[str, Any]]
    spent: dict[str, float]


def train(
    job: Job,
    device: str,
    progress: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains, or goes on from the last checkpoint; writes and returns the result.

    Raises Stopped when `stop` says so, FloatingPointError when the loss is no longer finite."""
    folder = Path(job.folder)
    run, step = _prepare(job, device)
    evals = set(job.config.eval_steps())
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
        while step < job.steps:
            if stop():
                raise Stopped(f"{job.name} after step {step}")
            row = _timed(run, "training", _step, step)
            step += 1
            _log(metrics, {"step": step, **row})
            progress(_event(run, step, row["loss"]))
            if step in evals:
                _log(metrics, _timed(run, "evaluation", _evaluate, step))
            if _checkpoint_due(job, step):
                metrics.flush()
                _save(run, step)
        if not run.curve:
            _log(metrics, _timed(run, "evaluation", _evaluate, step))
    result = _result(run)
    if job.steps:
        _export_model(run, folder / "model")
    write_json(folder / "result.json", result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Linear warm-up from step 0 (which already moves), then a cosine to a tenth of the peak."""
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.lr * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    return config.lr * (LAST_LR + (1 - LAST_LR) * (1 + math.cos(math.pi * share)) / 2)


def make_optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); only matrices decay, norms and biases do not."""
    weights = list(model.parameters())
    groups = [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=BETAS, fused=True)


def _prepare(job: Job, device: str) -> tuple[_Run, int]:
    """The run at its last checkpoint, or at step 0; what other settings left in the folder goes."""
    folder = Path(job.folder)
    model = network.build(job.config, job.vocab, job.seed, device).train()
    optimizer = make_optimizer(model, job.config)
    stream = Stream(job.tokens, job.seed, job.shuffle)
    run = _Run(job, model, optimizer, stream, HeldOut.load(job.held), device, [], {})
    state = checkpoint.read_state(folder / "checkpoints")
    if state is None or state["identity"] != job.identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return run, 0
    checkpoint.restore(folder / "checkpoints", model, optimizer)
    run.curve, run.spent = state["curve"], state["spent"]
    _truncate(folder / "metrics.jsonl", state["step"])
    return run, state["step"]


def _truncate(path: Path, step: int) -> None:
    """Drops the rows after a step: they are made again."""
    rows = [line for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
    path.write_text("".join(row for row in rows if json.loads(row)["step"] <= step), "utf-8")


def _step(run: _Run, step: int) -> dict[str, Any]:
    """One update. All that is random in it is a function of (seed, step)."""
    config = run.job.config
    rate = learning_rate(step, run.job.steps, config)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    torch.manual_seed(run.job.seed * 1_000_003 + step)  # dropout, where a checkpoint has it
    inputs, targets = run.stream.batch(step, config.batch_size, config.seq_len)
    with _precision(config, run.device):
        logits = run.model(input_ids=torch.from_numpy(inputs).to(run.device), use_cache=False).logits
    loss = cross_entropy(logits.flatten(0, 1).float(), torch.from_numpy(targets).to(run.device).flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"{run.job.name}: the loss is {value} at step {step + 1}; lower lr ({config.lr})"
        )
    run.optimizer.step()
    run.optimizer.zero_grad()
    return {"loss": value, "lr": rate, "gradient_norm": norm.item()}


def _precision(config: TrainConfig, device: str) -> AbstractContextManager[object]:
    kind = device.partition(":")[0]
    auto = kind == "cuda" and torch.cuda.is_bf16_supported()
    if config.dtype == "bfloat16" or (config.dtype == "auto" and auto):
        return torch.autocast(kind, torch.bfloat16)
    return nullcontext()


def _evaluate(run: _Run, step: int) -> dict[str, Any]:
    scores = evaluate(run.model, run.held, run.device)
    run.curve.append({"tokens": run.job.tokens_after(step), **scores})
    return {"step": step, **run.curve[-1]}


def _timed(run: _Run, kind: str, work: Callable[[_Run, int], dict[str, Any]], step: int) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work(run, step)
    run.spent[kind] = run.spent.get(kind, 0.0) + time.perf_counter() - wall
    run.spent["cpu"] = run.spent.get("cpu", 0.0) + time.process_time() - cpu
    return result


def _event(run: _Run, step: int, loss: float) -> dict[str, Any]:
    return {
        "arm": run.job.arm,
        "seed": run.job.seed,
        "step": step,
        "steps": run.job.steps,
        "loss": loss,
        "tokens_per_s": run.job.tokens_after(step) / run.spent["training"],
    }


def _log(metrics: Any, row: dict[str, Any]) -> None:
    metrics.write(json.dumps(row) + "\n")


def _checkpoint_due(job: Job, step: int) -> bool:
    every = job.config.checkpoint_every
    due = step in job.config.eval_steps() if every is None else step % every == 0
    return due and step < job.steps


def _export_model(run: _Run, folder: Path) -> None:
    """The trained model as a Hugging Face folder, tokenizer included."""
    run.model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = Path(run.job.config.tokenizer_folder) / name
        if source.is_file():
            (folder / name).write_bytes(source.read_bytes())


def _save(run: _Run, step: int) -> None:
    state = {"identity": run.job.identity, "step": step, "curve": run.curve, "spent": run.spent}
    checkpoint.save(Path(run.job.folder) / "checkpoints", step, run.model, run.optimizer, state)


def _result(run: _Run) -> dict[str, Any]:
    tokens = run.job.tokens_after(run.job.steps)
    training = run.spent.get("training", 0.0)
    on_gpu = run.device.startswith("cuda")
    return {
        "identity": run.job.identity,
        "arm": run.job.arm,
        "seed": run.job.seed,
        "tokens": tokens,
        "corpus_tokens": len(run.stream.ids),
        "curve": run.curve,
        "parameters": network.parameters(run.model),
        "model_bytes": network.model_bytes(run.model),
        "flops": tokens * network.flops_per_token(run.model, run.job.config.seq_len),
        "tokens_per_s": tokens / training if training else 0.0,
        "seconds": training + run.spent.get("evaluation", 0.0),
        "cpu_seconds": run.spent.get("cpu", 0.0),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated(run.device) if on_gpu else 0,
    }
