"""One training run: a model, an order of the data, a schedule; resumable, and the same again bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_ops.trainer import checkpoint, keep, network, rewind, tuning
from gpu_ops.trainer.draw import Draw
from gpu_ops.trainer.early import check, is_over
from gpu_ops.trainer.feeds import domains_of_held, load_held, make_feed, make_objective, make_schedule
from gpu_ops.trainer.files import write_json
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.joint import Joint
from gpu_ops.trainer.log import Log
from gpu_ops.trainer.meter import Meter
from gpu_ops.trainer.optim import make_optimizer
from gpu_ops.trainer.precision import Precision
from gpu_ops.trainer.probe import Passages, probe
from gpu_ops.trainer.select.build import build as selector
from gpu_ops.trainer.select.reference import Reference
from gpu_ops.trainer.sitting import Sitting
from gpu_ops.trainer.spikes import Step, Watch
from gpu_ops.trainer.update import update
from gpu_ops.trainer.world import Alone, World

Progress = Callable[[dict[str, Any]], None]


class Stopped(Exception):
    """The run was asked to stop; its last checkpoint stays."""


def train(
    job: Job,
    device: str,
    progress: Progress,
    stop: Callable[[], bool] = lambda: False,
    world: World | None = None,
) -> dict[str, Any]:
    """Trains, or goes on from the last checkpoint; writes and returns the result. With a `world` this is one
    of the processes that train together, all of which have to call this; its first one writes the files and
    tells `progress`.

    Raises Stopped when `stop` says so, FloatingPointError when the loss is no longer finite, or jumps
    more often than `spikes` has it."""
    folder, world = Path(job.folder), world or Alone()
    run, step = _prepare(job, device, world)
    while _sitting(run, step, progress, stop):
        before, (run, step) = run, _prepare(job, device, world)
        run.meter.spent = before.meter.spent  # what was thrown away was paid for
    result = _result(run)
    if not job.untrained:
        keep.export_kept(run, folder)
    if world.first:
        write_json(folder / "result.json", result)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    world.wait()
    return result


def _sitting(run: Sitting, step: int, progress: Progress, stop: Callable[[], bool]) -> bool:
    """Trains from a step on. True when a spike was found, and the run has to go back; False at its end."""
    log = Log(run.job, step, run.world.first)
    try:
        return _steps(run, step, log, progress, stop)
    finally:
        log.close()
        run.meter.close()
        run.draw.ahead.close()


def _steps(run: Sitting, step: int, log: Log, progress: Progress, stop: Callable[[], bool]) -> bool:
    steps = 0 if run.job.untrained else run.draw.schedule.steps
    evals = set(run.draw.schedule.eval_steps(run.job.config.evals))
    saved = step
    row: dict[str, Any] = {}
    while step < steps and not is_over(run.curve, run.job.config.early_stop):
        if run.world.any(stop()):
            raise Stopped(f"{run.job.name} after step {step}")
        with run.meter.timing("training"):
            row = update(run, step)
        step += 1
        if rewind.found_spike(run, Step(step, row["loss"], tuple(row["batches"])), last=step == steps):
            return True
        log.metrics({"step": step, **row})
        if run.world.first:
            progress(_event(run, step, row["loss"]))
        if step in evals:
            _evaluate(run, step, log)
            if keep.is_best(run):
                keep.export_model(run, keep.candidate(run, len(run.curve) - 1))
        if _checkpoint_due(run, step, saved, evals):
            run.meter.settle()
            log.sync()  # the rows before the checkpoint are not made again
            _save(run, step)
            saved = step
    if row and step < steps and run.world.first:  # it stops early: this was the last step
        progress(_event(run, step, row["loss"]) | {"steps": step})
    if not run.curve:
        _evaluate(run, step, log)
    run.meter.settle()
    run.done = step
    return False


def _prepare(job: Job, device: str, world: World) -> tuple[Sitting, int]:
    """The run at its last checkpoint, or at step 0; what other settings left in the folder goes. Batches that
    made the loss jump are skipped."""
    folder = Path(job.folder)
    feed = make_feed(job)
    schedule, readers = make_schedule(job.config, feed), job.config.data_workers
    network_ = network.build(job.config, job.vocab, job.seed, device, job.classes, schedule.steps).train()
    meter = Meter(network_, job.config, device)  # which looks at the model before it may be taken apart
    model = world.wrap(network_)
    run = Sitting(
        job=job,
        world=world,
        device=device,
        network=network_,
        model=model,
        optimizer=make_optimizer(model, job.config),
        objective=make_objective(job, network_),
        precision=Precision(job.config, device),
        draw=Draw(feed, schedule, selector(job.config.select, job.seed, schedule.steps), workers=readers),
        held=load_held(job),
        meter=meter,
        reference=Reference.of(job, network_, device),
        joint=Joint.of(job, model, network_),
        probe=None if job.probe is None else Passages.load(job.probe),
        watch=None if job.config.spikes is None else Watch(job.config.spikes),
    )
    check(job.config.early_stop, domains_of_held(job, run.held), job.config.objective == "classification")
    world.wait()  # nobody reads or writes in the folder
    if world.first:
        _tidy(folder, job.identity)
    world.wait()
    numbers = rewind.skipped(folder)
    state = checkpoint.read_state(folder / "checkpoints")
    if state is not None:
        _restore(run, state)
    run.draw.skip({*job.config.skip_batches, *numbers})
    return run, 0 if state is None else state["step"]


def _tidy(folder: Path, identity: str) -> None:
    """Only what is this run's stays in the folder, and of that only a checkpoint to go on from."""
    owner = folder / "identity.json"
    if not owner.exists() or json.loads(owner.read_text("utf-8")) != identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(owner, identity)
    checkpoint.clean(folder / "checkpoints")
    state = checkpoint.read_state(folder / "checkpoints")
    if state is not None and rewind.looked_at(state["draw"], rewind.skipped(folder)):
        shutil.rmtree(folder / "checkpoints")


def _restore(run: Sitting, state: dict[str, Any]) -> None:
    folder = Path(run.job.folder) / "checkpoints"
    arrays = checkpoint.restore(folder, run.network, run.optimizer, run.world)
    run.draw.restore(state["draw"], arrays)
    tuning.restore(run.network, arrays)
    if run.reference is not None:
        run.reference.restore(arrays)
    if run.watch is not None:
        run.watch.restore(state["watch"])
    run.precision.restore(state["precision"])
    run.curve, run.meter.spent = state["curve"], state["spent"]


def _evaluate(run: Sitting, step: int, log: Log) -> None:
    tokens = run.draw.schedule.tokens_after(step)
    with run.meter.timing("evaluation"), run.world.whole(run.network):
        scores = run.objective.evaluate(run.network, run.held, run.device)
        if run.probe is not None:
            scores |= probe(run.network, run.probe, run.device)
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


def _save(run: Sitting, step: int) -> None:
    draw, arrays = run.draw.state()
    followed = {} if run.reference is None else run.reference.state()
    state = {
        "identity": run.job.identity,
        "step": step,
        "draw": draw,
        "precision": run.precision.state(),
        "watch": [] if run.watch is None else run.watch.state(),
        "curve": run.curve,
        "spent": run.meter.spent,
    }
    folder, kept = Path(run.job.folder) / "checkpoints", run.job.config.checkpoints_kept
    arrays = {**arrays, **followed, **tuning.state(run.network)}
    checkpoint.save(folder, step, run.network, run.optimizer, state, arrays, run.world, kept)
    keep.prune(run)


def _result(run: Sitting) -> dict[str, Any]:
    tokens = run.draw.schedule.tokens_after(run.done)
    return {
        "identity": run.job.identity,
        "arm": run.job.arm,
        "seed": run.job.seed,
        "tokens": tokens,
        "corpus_tokens": run.draw.feed.corpus_tokens,
        "curve": run.curve,
        "spikes": rewind.spikes(Path(run.job.folder)),
        "steps": run.done,
        "stopped": not run.job.untrained and run.done < run.draw.schedule.steps,
        "kept": keep.kept(run),
        **run.meter.result(tokens),
    }
