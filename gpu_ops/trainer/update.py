"""One step: rows are drawn, their gradients added up in micro-batches, clipped, and applied."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from gpu_ops.trainer import tuning
from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.draw import Drawn
from gpu_ops.trainer.objective import by_row
from gpu_ops.trainer.schedule import learning_rate
from gpu_ops.trainer.select.selector import Floats, Scores
from gpu_ops.trainer.sitting import Sitting


def update(run: Sitting, step: int) -> dict[str, Any]:
    """Step number `step` of a run: figures for the log, and the batches that it trained on. All that is
    random in it is a function of (seed, step). With a loss that is no number nothing is updated."""
    config, steps = run.job.config, run.draw.schedule.steps
    rate = learning_rate(run.draw.schedule.position(step), steps, config)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    drawn = run.draw.next(step, lambda batch, needs: _scores(run, batch, needs))
    torch.manual_seed((run.job.seed * 1_000_003 + step) * 1_009 + run.world.rank)  # dropout
    loss, seen = _gradients(run, drawn, step)
    if not math.isfinite(loss):
        return {"loss": loss, "batches": list(drawn.numbers)}
    told = run.precision.step(run.model, run.optimizer, config.clip)
    if not told.get("skipped"):
        tuning.after_step(run.network, step)
    run.optimizer.zero_grad()
    if run.draw.selector is not None:
        run.draw.selector.learn(drawn.batch, seen)
    if run.reference is not None:
        run.reference.follow(run.network)
    figures = {"loss": loss, "lr": rate, **told, "flops": run.meter.flops}
    figures |= {**run.joint.told(run), **drawn.told}
    if config.log_rows:
        figures["rows"] = drawn.batch.rows.tolist()
    return {**figures, "batches": list(drawn.numbers)}


def _gradients(run: Sitting, drawn: Drawn, step: int) -> tuple[float, Scores]:
    """Adds up the gradient of sum(weight * loss) / targets and of the further parts' losses, however the rows
    are shared among processes and micro-batches. Returns the first number, and what the forward passes said
    of the rows, without their weights."""
    own = run.world.own(drawn.batch)
    batch, weights = drawn.batch.take(own), run.world.weights(drawn.weights)
    bounded = run.draw.selector is not None and "bound" in run.draw.selector.observes
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    parts = -(-len(batch) // (run.job.config.micro_batch or len(batch)))
    pieces = np.array_split(np.arange(len(batch)), parts)
    for k, piece in enumerate(pieces):
        rows = batch.take(piece)
        with run.world.backward(run.model, last=k == len(pieces) - 1):
            with run.precision.products():
                logits = run.objective.logits(run.model, rows, run.device)
                losses = by_row(logits.losses())
                joint = run.joint.loss(run, step, k, len(pieces))
            bounds = logits.bounds() if bounded else torch.zeros_like(losses)
            if drawn.weigh is not None:
                means = losses.detach().double().cpu().numpy() / np.maximum(rows.learned, 1)
                weights[piece] *= drawn.weigh(means)
            weight = torch.from_numpy(weights[piece] / drawn.targets).to(losses)
            summed = (losses * weight).sum() if joint is None else (losses * weight).sum() + joint
            more = tuning.penalty(run.network) if k == 0 else None
            # Gradients are averaged over the processes; those of the losses are to be summed.
            whole = summed * run.world.size
            run.precision.backward(whole if more is None else whole + more)
        found.append((losses.detach(), bounds))
    run.meter.trained(drawn.batch)
    columns = [torch.cat(parts).double().cpu().numpy() for parts in zip(*found, strict=True)]
    joined = run.world.joined(np.stack([*columns, weights], axis=1), len(drawn.batch))
    loss, bound, weight_all = joined.T
    mean = loss / np.maximum(drawn.batch.learned, 1)
    seen = Scores(loss=mean, bound=bound if bounded else None)
    return float((loss * weight_all).sum() / drawn.targets), seen


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
    with run.precision.products():
        logits = run.objective.logits(model, own, run.device)
        both = logits.losses(), logits.bounds()
    loss, bound = (run.world.joined(one.double().cpu().numpy(), len(batch)) for one in both)
    if not (np.isfinite(loss).all() and np.isfinite(bound).all()):
        raise FloatingPointError(
            f"{run.job.name}: the loss of a candidate is not finite; lower lr ({run.job.config.lr})"
        )
    return loss, bound


def _mean(loss: Floats, batch: Batch) -> Floats:
    """(R,) over the targets of each row."""
    return np.asarray(loss.reshape(len(batch), -1).sum(axis=1) / np.maximum(batch.learned, 1), np.float64)


def loss_now(run: Sitting, number: int) -> float:
    """The mean loss of a batch under the model as it is, without dropout; NaN where it is no number."""
    batch = run.draw.read(number)
    try:
        scores = _scores(run, batch, frozenset({"loss"}))
    except FloatingPointError:
        return math.nan
    return float(np.average(scores.of("loss"), weights=batch.learned))
