"""One training run: a model, an order of the data, a schedule; resumable, and the same again bit for bit."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gpu_ops.trainer import checkpoint, network
from gpu_ops.trainer.draw import Draw
from gpu_ops.trainer.feeds import load_held, make_feed, make_objective, make_schedule
from gpu_ops.trainer.files import write_json
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.log import Log, whole_lines
from gpu_ops.trainer.meter import Meter
from gpu_ops.trainer.optim import make_optimizer
from gpu_ops.trainer.select.build import build as selector
from gpu_ops.trainer.select.reference import Reference
from gpu_ops.trainer.sitting import Sitting
from gpu_ops.trainer.spikes import Step, Watch
from gpu_ops.trainer.update import loss_now, update
from gpu_ops.trainer.world import Alone

SPIKES = "spikes.jsonl"
Progress = Callable[[dict[str, Any]], None]


class Stopped(Exception):
    """The run was asked to stop; its last checkpoint stays."""


def train(
    job: Job,
    device: str,
    progress: Progress,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains, or goes on from the last checkpoint; writes and returns the result.

    Raises Stopped when `stop` says so, FloatingPointError when the loss is no longer finite, or jumps
    more often than `spikes` has it."""
    folder = Path(job.folder)
    run, step = _prepare(job, device)
    while _sitting(run, step, progress, stop):
        before, (run, step) = run, _prepare(job, device)
        run.meter.spent = before.meter.spent  # what was thrown away was paid for
    result = _result(run)
    if not job.untrained:
        _export_model(run, folder / "model")
    write_json(folder / "result.json", result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def _sitting(run: Sitting, step: int, progress: Progress, stop: Callable[[], bool]) -> bool:
    """Trains from a step on. True when a spike was found, and the run has to go back; False at its end."""
    log = Log(run.job, step)
    try:
        return _steps(run, step, log, progress, stop)
    finally:
        log.close()
        run.meter.close()


def _steps(run: Sitting, step: int, log: Log, progress: Progress, stop: Callable[[], bool]) -> bool:
    steps = 0 if run.job.untrained else run.draw.schedule.steps
    evals = set(run.job.config.eval_steps(steps))
    saved = step
    while step < steps:
        if stop():
            raise Stopped(f"{run.job.name} after step {step}")
        with run.meter.timing("training"):
            row = update(run, step)
        step += 1
        if _spike(run, Step(step, row["loss"], tuple(row["batches"])), last=step == steps):
            return True
        log.metrics({"step": step, **row})
        progress(_event(run, step, row["loss"]))
        if step in evals:
            _evaluate(run, step, log)
        if _checkpoint_due(run, step, saved, evals):
            run.meter.settle()
            log.flush()
            _save(run, step)
            saved = step
    if not run.curve:
        _evaluate(run, step, log)
    run.meter.settle()
    return False


def _spike(run: Sitting, step: Step, last: bool) -> bool:
    """Whether a spike shows at this step. Its batches are written down, and will be skipped."""
    if run.watch is None:
        if math.isfinite(step.loss):
            return False
        raise FloatingPointError(
            f"{run.job.name}: the loss is {step.loss} at step {step.step}; lower lr ({run.job.config.lr}), "
            "or let `spikes` leave such batches out"
        )
    look = partial(loss_now, run)
    found = run.watch.see(step, look) or (run.watch.end(look) if last else set())
    if not found:
        return False
    path = Path(run.job.folder) / SPIKES
    before = whole_lines(path)
    if len(before) == run.watch.rule.most:
        raise FloatingPointError(
            f"{run.job.name}: the loss jumps again at step {step.step}, after {len(before)} spikes were left "
            f"out ({path}); lower lr ({run.job.config.lr}) or look at the data"
        )
    with path.open("a", encoding="utf-8") as file:
        loss = step.loss if math.isfinite(step.loss) else str(step.loss)
        file.write(json.dumps({"step": step.step, "loss": loss, "batches": sorted(found)}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return True


def _prepare(job: Job, device: str) -> tuple[Sitting, int]:
    """The run at its last checkpoint, or at step 0; what other settings left in the folder goes. Batches that
    made the loss jump are skipped."""
    folder = Path(job.folder)
    model = network.build(job.config, job.vocab, job.seed, device, job.classes).train()
    feed = make_feed(job)
    schedule = make_schedule(job.config, feed)
    run = Sitting(
        job=job,
        world=Alone(),
        device=device,
        network=model,
        model=model,
        optimizer=make_optimizer(model, job.config),
        objective=make_objective(job, model),
        draw=Draw(feed, schedule, selector(job.config.select, job.seed, schedule.steps)),
        held=load_held(job),
        meter=Meter(model, job.config, device),
        reference=Reference.of(job.config.select, model, device),
        watch=None if job.config.spikes is None else Watch(job.config.spikes),
    )
    if not _owned(folder, job.identity):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / "identity.json", job.identity)
    skipped = {number for spike in whole_lines(folder / SPIKES) for number in spike["batches"]}
    state = checkpoint.read_state(folder / "checkpoints")
    if state is None or _looked_at(state["draw"], skipped):
        step = 0
    else:
        step = state["step"]
        arrays = checkpoint.restore(folder / "checkpoints", model, run.optimizer)
        run.draw.restore(state["draw"], arrays)
        if run.reference is not None:
            run.reference.restore(arrays)
        run.curve, run.meter.spent = state["curve"], state["spent"]
        if run.watch is not None:
            run.watch.restore(state["watch"])
    run.draw.skip({*job.config.skip_batches, *skipped})
    return run, step


def _looked_at(draw: dict[str, Any], skipped: set[int]) -> bool:
    """Whether a state has seen batches that are to be skipped, as a selector may before they are used."""
    return any(number < draw["number"] for number in skipped.difference(draw["skipped"]))


def _owned(folder: Path, identity: str) -> bool:
    """Whether the folder is this run's, though it has no checkpoint yet."""
    path = folder / "identity.json"
    return path.exists() and json.loads(path.read_text("utf-8")) == identity


def _evaluate(run: Sitting, step: int, log: Log) -> None:
    tokens = run.draw.schedule.tokens_after(step)
    with run.meter.timing("evaluation"):
        scores = run.objective.evaluate(run.model, run.held, run.device)
    run.curve.append({"tokens": tokens, "flops": run.meter.flops, **scores})
    log.metrics({"step": step, **run.curve[-1]})
    log.speed({"step": step, **run.meter.speed(tokens)})


def _event(run: Sitting, step: int, loss: float) -> dict[str, Any]:
    return {
        "arm": run.job.arm,
        "seed": run.job.seed,
        "step": step,
        "steps": run.draw.schedule.steps,
        "loss": loss,
        "tokens_per_s": run.draw.schedule.tokens_after(step) / run.meter.spent["training"],
    }


def _checkpoint_due(run: Sitting, step: int, saved: int, evals: set[int]) -> bool:
    """Never while an alarm is pending: the last checkpoint has to be from before a spike."""
    every = run.job.config.checkpoint_every
    points = evals if every is None else range(saved - saved % every + every, step + 1, every)
    due = any(saved < point <= step for point in points)
    pending = run.watch is not None and bool(run.watch.pending)
    return due and not pending and step < run.draw.schedule.steps


def _export_model(run: Sitting, folder: Path) -> None:
    """The trained model as a Hugging Face folder, tokenizer included."""
    run.network.save_pretrained(folder)
    if run.job.config.features:
        return
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = Path(run.job.config.tokenizer_folder) / name
        if source.is_file():
            (folder / name).write_bytes(source.read_bytes())


def _save(run: Sitting, step: int) -> None:
    draw, arrays = run.draw.state()
    arrays = {**arrays, **(run.reference.state() if run.reference is not None else {})}
    state = {"identity": run.job.identity, "step": step, "draw": draw}
    state |= {"curve": run.curve, "spent": run.meter.spent}
    state |= {"watch": [] if run.watch is None else run.watch.state()}
    folder = Path(run.job.folder) / "checkpoints"
    checkpoint.save(folder, step, run.network, run.optimizer, state, arrays)


def _result(run: Sitting) -> dict[str, Any]:
    tokens = 0 if run.job.untrained else run.draw.schedule.tokens_after(run.draw.schedule.steps)
    return {
        "identity": run.job.identity,
        "arm": run.job.arm,
        "seed": run.job.seed,
        "tokens": tokens,
        "corpus_tokens": run.draw.feed.corpus_tokens,
        "curve": run.curve,
        "spikes": whole_lines(Path(run.job.folder) / SPIKES),
        **run.meter.result(tokens),
    }
