"""One step: rows are drawn, their gradients added up in micro-batches, clipped, and applied."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.draw import Drawn
from gpu_ops.trainer.objective import by_row
from gpu_ops.trainer.schedule import learning_rate
from gpu_ops.trainer.select.selector import Floats, Scores
from gpu_ops.trainer.sitting import Sitting


def update(run: Sitting, step: int) -> dict[str, Any]:
    """Step number `step` of a run. All that is random in it is a function of (seed, step)."""
    config, steps = run.job.config, run.draw.schedule.steps
    rate = learning_rate(step, steps, config)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    drawn = run.draw.next(step, lambda batch, needs: _scores(run, batch, needs))
    torch.manual_seed((run.job.seed * 1_000_003 + step) * 1_009 + run.world.rank)  # dropout
    loss, seen = _gradients(run, drawn)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"{run.job.name}: the loss is {loss} at step {step + 1}; lower lr ({config.lr})"
        )
    run.optimizer.step()
    run.optimizer.zero_grad()
    if run.draw.selector is not None:
        run.draw.selector.learn(drawn.batch, seen)
    if run.reference is not None:
        run.reference.follow(run.network)
    told = {**drawn.told, **({"rows": drawn.batch.rows.tolist()} if config.log_rows else {})}
    return {"loss": loss, "lr": rate, "gradient_norm": norm.item(), "flops": run.meter.flops, **told}


def _gradients(run: Sitting, drawn: Drawn) -> tuple[float, Scores]:
    """Adds up the gradient of sum(weight * loss) / targets, however the rows are shared among processes and
    micro-batches. Returns that number, and what the forward passes said of the rows, without their
    weights."""
    own = run.world.own(drawn.batch)
    batch, weights = drawn.batch.take(own), drawn.weights[own].copy()
    bounded = run.draw.selector is not None and "bound" in run.draw.selector.observes
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    pieces = list(_micro_batches(run, len(drawn.batch), len(batch)))
    for k, piece in enumerate(pieces):
        rows = batch.take(piece)
        with run.world.backward(run.model, last=k == len(pieces) - 1):
            with precision(run.job.config, run.device):
                logits = run.objective.logits(run.model, rows, run.device)
                losses = by_row(logits.losses())
            bounds = logits.bounds() if bounded else torch.zeros_like(losses)
            if drawn.weigh is not None:
                means = losses.detach().double().cpu().numpy() / np.maximum(rows.learned, 1)
                weights[piece] *= drawn.weigh(means)
            weight = torch.from_numpy(weights[piece] / drawn.targets).to(run.device, torch.float32)
            # Gradients are averaged over the processes, and are to be summed.
            ((losses * weight).sum() * run.world.size).backward()  # type: ignore[no-untyped-call]
        found.append((losses.detach(), bounds))
    run.meter.trained(drawn.batch)
    columns = [torch.cat(parts).double().cpu().numpy() for parts in zip(*found, strict=True)]
    loss, bound, weight_all = run.world.joined(np.stack([*columns, weights], axis=1)).T
    mean = loss / np.maximum(drawn.batch.learned, 1)
    seen = Scores(loss=mean, bound=bound if bounded else None)
    return float((loss * weight_all).sum() / drawn.targets), seen


def _micro_batches(run: Sitting, rows: int, own: int) -> Iterator[np.ndarray]:
    """This process's rows in as many parts as every other process has."""
    most = -(-rows // run.world.size)
    parts = -(-most // (run.job.config.micro_batch or most))
    return iter(np.array_split(np.arange(own), min(parts, rows // run.world.size)))


def _scores(run: Sitting, batch: Batch, needs: frozenset[str]) -> Scores:
    """What extra forward passes, without dropout, say of candidates."""
    found: dict[str, Floats] = {}
    if needs & {"loss", "bound", "token_loss"}:
        run.model.eval()
        loss, bound = _asked(run, run.model, batch)
        run.model.train()
        run.meter.looked(batch, run.network)
        found |= {"loss": _mean(loss, batch), "bound": bound, "token_loss": loss}
    if needs & {"reference", "token_reference"}:
        if run.reference is None:
            raise ValueError("the selector wants a reference model, and the run has none")
        loss, _ = _asked(run, run.reference.network, batch)
        run.meter.looked(batch, run.reference.network)
        found |= {"reference": _mean(loss, batch), "token_reference": loss}
    return Scores(**{name: found[name] for name in needs})


@torch.no_grad()
def _asked(run: Sitting, model: Any, batch: Batch) -> tuple[Floats, Floats]:
    """(R,) or (R, T) losses and (R,) bounds. FloatingPointError where one is no number: nothing could be
    chosen by it."""
    own = batch.take(run.world.own(batch))
    with precision(run.job.config, run.device):
        logits = run.objective.logits(model, own, run.device)
        both = logits.losses(), logits.bounds()
    loss, bound = (run.world.joined(one.double().cpu().numpy()) for one in both)
    if not (np.isfinite(loss).all() and np.isfinite(bound).all()):
        raise FloatingPointError(
            f"{run.job.name}: the loss of a candidate is not finite; lower lr ({run.job.config.lr})"
        )
    return loss, bound


def _mean(loss: Floats, batch: Batch) -> Floats:
    """(R,) over the targets of each row."""
    return np.asarray(loss.reshape(len(batch), -1).sum(axis=1) / np.maximum(batch.learned, 1), np.float64)


def precision(config: TrainConfig, device: str) -> AbstractContextManager[object]:
    """Of the matrix products."""
    kind = device.partition(":")[0]
    auto = kind == "cuda" and torch.cuda.is_bf16_supported()
    if config.dtype == "bfloat16" or (config.dtype == "auto" and auto):
        return torch.autocast(kind, torch.bfloat16)
    return nullcontext()
