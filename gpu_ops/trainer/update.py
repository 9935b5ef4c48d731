"""One step: rows are drawn, their gradients added up in micro-batches, clipped, and applied."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from gpu_ops.trainer import tuning
from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.draw import Drawn
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
    loss, losses = _gradients(run, drawn)
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"{run.job.name}: the loss is {loss} at step {step + 1}; lower lr ({config.lr})"
        )
    told = run.precision.step(run.model, run.optimizer, config.clip)
    if not told.get("skipped"):
        tuning.after_step(run.network, step)
    run.optimizer.zero_grad()
    if run.draw.selector is not None:
        run.draw.selector.learn(drawn.batch, losses / np.maximum(drawn.batch.learned, 1))
    return {"loss": loss, "lr": rate, **told, **drawn.told}


def _gradients(run: Sitting, drawn: Drawn) -> tuple[float, Floats]:
    """Adds up the gradient of sum(weight * loss) / targets, however the rows are shared among processes and
    micro-batches. Returns that number and the (R,) summed losses of the rows, without their weights."""
    own = run.world.own(drawn.batch)
    batch, weights = drawn.batch.take(own), run.world.weights(drawn.weights)
    losses: list[torch.Tensor] = []
    parts = -(-len(batch) // (run.job.config.micro_batch or len(batch)))
    pieces = np.array_split(np.arange(len(batch)), parts)
    for k, piece in enumerate(pieces):
        with run.world.backward(run.model, last=k == len(pieces) - 1):
            with run.precision.products():
                found = run.objective.losses(run.model, batch.take(piece), run.device)
            weight = torch.from_numpy(weights[piece] / drawn.targets).to(found)
            # Gradients are averaged over the processes, and are to be summed.
            whole = (found * weight).sum() * run.world.size
            more = tuning.penalty(run.network) if k == 0 else None
            run.precision.backward(whole if more is None else whole + more)
        losses.append(found.detach())
    run.meter.trained(drawn.batch)
    summed = run.world.joined(torch.cat(losses).double().cpu().numpy(), len(drawn.batch))
    return float((summed * drawn.weights).sum() / drawn.targets), summed


def _scores(run: Sitting, batch: Batch, needs: frozenset[str]) -> Scores:
    """What an extra forward pass, without dropout, says of candidates."""
    if not needs & {"loss", "bound"}:
        return Scores()
    own = batch.take(run.world.own(batch))
    run.model.eval()
    with run.precision.products():
        loss, bound = run.objective.scores(run.model, own, run.device)
    run.model.train()
    run.meter.looked(batch)
    found = run.world.joined(torch.stack([loss, bound], dim=1).double().cpu().numpy(), len(batch))
    return Scores(loss=found[:, 0] / np.maximum(batch.learned, 1), bound=found[:, 1])
