"""One training run: a model, an order of the data, a schedule; resumable, and the same again bit for bit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from gpu_ops.trainer import checkpoint, network, tuning
from gpu_ops.trainer.draw import Draw
from gpu_ops.trainer.evaluate import HeldOut
from gpu_ops.trainer.files import write_json
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.meter import Meter
from gpu_ops.trainer.objective import CausalLmObjective
from gpu_ops.trainer.optim import make_optimizer
from gpu_ops.trainer.precision import Precision
from gpu_ops.trainer.schedule import Schedule
from gpu_ops.trainer.sitting import Sitting
from gpu_ops.trainer.stream import Stream
from gpu_ops.trainer.update import update
from gpu_ops.trainer.world import Alone, World


class Stopped(Exception):
    """The run was asked to stop; its last checkpoint stays."""


def train(
    job: Job,
    device: str,
    progress: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool] = lambda: False,
    world: World | None = None,
) -> dict[str, Any]:
    """Trains, or goes on from the last checkpoint; writes and returns the result. With a `world` this is one
    of the processes that train together, all of which have to call this; its first one writes the files and
    tells `progress`.

    Raises Stopped when `stop` says so, FloatingPointError when the loss is no longer finite."""
    folder = Path(job.folder)
    run, step = _prepare(job, device, world or Alone())
    log = folder / "metrics.jsonl" if run.world.first else Path(os.devnull)
    steps = 0 if job.untrained else run.draw.schedule.steps
    evals = set(job.config.eval_steps(steps))
    with log.open("a", encoding="utf-8") as metrics, closing(run.draw.ahead):
        while step < steps:
            if run.world.any(stop()):
                raise Stopped(f"{job.name} after step {step}")
            with run.meter.timing("training"):
                row = update(run, step)
            step += 1
            _log(metrics, {"step": step, **row})
            if run.world.first:
                progress(_event(run, step, row["loss"]))
            if step in evals:
                _log(metrics, _evaluate(run, step))
            if _checkpoint_due(run, step, evals):
                _save(run, step, metrics)
        if not run.curve:
            _log(metrics, _evaluate(run, step))
    result = _result(run, step)
    if not job.untrained:
        _export_model(run, folder)
    if run.world.first:
        write_json(folder / "result.json", result)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    run.world.wait()
    return result


def _prepare(job: Job, device: str, world: World) -> tuple[Sitting, int]:
    """The run at its last checkpoint, or at step 0; what other settings left in the folder goes."""
    folder = Path(job.folder)
    network_ = network.build(job.config, job.vocab, job.seed, device).train()
    meter = Meter(network_, device)  # which looks at the model before it may be taken apart
    model = world.wrap(network_)
    feed = Stream(job.tokens, job.seed, job.shuffle)
    run = Sitting(
        job=job,
        world=world,
        device=device,
        network=network_,
        model=model,
        optimizer=make_optimizer(model, job.config),
        objective=CausalLmObjective(),
        precision=Precision(job.config, device),
        draw=Draw(feed, Schedule.of(job.config, feed.unit), workers=job.config.data_workers),
        held=HeldOut.load(job.held),
        meter=meter,
    )
    state = checkpoint.read_state(folder / "checkpoints")
    if state is not None and state["identity"] != job.identity:
        state = None
    world.wait()  # everyone has looked
    if world.first:
        _tidy(folder, None if state is None else state["step"])
    world.wait()
    if state is None:
        return run, 0
    arrays = checkpoint.restore(folder / "checkpoints", network_, run.optimizer, world)
    run.draw.restore(state["draw"], arrays)
    tuning.restore(network_, arrays)
    run.precision.restore(state["precision"])
    run.curve, run.meter.spent = state["curve"], state["spent"]
    return run, state["step"]


def _tidy(folder: Path, step: int | None) -> None:
    """The folder as it was at its checkpoint of a step, or empty."""
    if step is None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return
    checkpoint.clean(folder / "checkpoints")
    _truncate(folder / "metrics.jsonl", step)


def _truncate(path: Path, step: int) -> None:
    """Drops the rows after a step: they are made again."""
    rows = [line for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
    partial = path.with_name(f".{path.name}")
    partial.write_text("".join(row for row in rows if json.loads(row)["step"] <= step), "utf-8")
    partial.replace(path)


def _evaluate(run: Sitting, step: int) -> dict[str, Any]:
    with run.meter.timing("evaluation"), run.world.whole(run.network):
        scores = run.objective.evaluate(run.network, run.held, run.device)
    point = {"tokens": run.draw.schedule.tokens_after(step), "flops": run.meter.flops, **scores}
    run.curve.append(point)
    return {"step": step, **point}


def _event(run: Sitting, step: int, loss: float) -> dict[str, Any]:
    return {
        "arm": run.job.arm,
        "seed": run.job.seed,
        "step": step,
        "steps": run.draw.schedule.steps,
        "loss": loss,
        "tokens_per_s": run.draw.schedule.tokens_after(step) / run.meter.spent["training"],
    }


def _log(metrics: Any, row: dict[str, Any]) -> None:
    metrics.write(json.dumps(row) + "\n")


def _checkpoint_due(run: Sitting, step: int, evals: set[int]) -> bool:
    every = run.job.config.checkpoint_every
    due = step in evals if every is None else step % every == 0
    return due and step < run.draw.schedule.steps


def _export_model(run: Sitting, folder: Path) -> None:
    """The trained model as a Hugging Face folder `model`, tokenizer included; an adapter as peft's folder
    `adapter`, and merged into `model` where that is wanted."""
    weights = run.world.gathered(run.network)
    if not run.world.first:
        return
    given = {} if weights is None else {"state_dict": weights}
    trained = run.network
    if tuning.is_adapted(trained):
        trained.save_pretrained(folder / "adapter", **given)
        if not run.job.config.merge:
            return
        trained, given = trained.merge_and_unload(), {}
    trained.save_pretrained(folder / "model", **given)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = Path(run.job.config.tokenizer_folder) / name
        if source.is_file():
            (folder / "model" / name).write_bytes(source.read_bytes())


def _save(run: Sitting, step: int, metrics: IO[str]) -> None:
    if run.world.first:  # the rows before the checkpoint are not made again
        metrics.flush()
        os.fsync(metrics.fileno())
    draw, arrays = run.draw.state()
    state = {"identity": run.job.identity, "step": step, "draw": draw, "precision": run.precision.state()}
    state |= {"curve": run.curve, "spent": run.meter.spent}
    folder = Path(run.job.folder) / "checkpoints"
    kept = run.job.config.checkpoints_kept
    arrays = {**arrays, **tuning.state(run.network)}
    checkpoint.save(folder, step, run.network, run.optimizer, state, arrays, run.world, kept)


def _result(run: Sitting, step: int) -> dict[str, Any]:
    tokens = run.draw.schedule.tokens_after(step)
    return {
        "identity": run.job.identity,
        "arm": run.job.arm,
        "seed": run.job.seed,
        "tokens": tokens,
        "corpus_tokens": run.draw.feed.corpus_tokens,
        "curve": run.curve,
        **run.meter.result(tokens),
    }
