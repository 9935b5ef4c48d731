"""One training run: a model, an order of the data, a schedule; resumable, and the same again bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_ops.trainer import checkpoint, network
from gpu_ops.trainer.draw import Draw
from gpu_ops.trainer.early import best, is_over
from gpu_ops.trainer.feeds import load_held, make_feed, make_objective, make_schedule
from gpu_ops.trainer.files import write_json
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.joint import Joint
from gpu_ops.trainer.meter import Meter
from gpu_ops.trainer.optim import make_optimizer
from gpu_ops.trainer.probe import Passages, probe
from gpu_ops.trainer.select.build import build as selector
from gpu_ops.trainer.select.reference import Reference
from gpu_ops.trainer.sitting import Sitting
from gpu_ops.trainer.update import update
from gpu_ops.trainer.world import Alone


class Stopped(Exception):
    """The run was asked to stop; its last checkpoint stays."""


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
    steps = 0 if job.untrained else run.draw.schedule.steps
    evals = set(job.config.eval_steps(steps))
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
        while step < steps and not is_over(run.curve, job.config.early_stop):
            if stop():
                raise Stopped(f"{job.name} after step {step}")
            with run.meter.timing("training"):
                row = update(run, step)
            step += 1
            _log(metrics, {"step": step, **row})
            progress(_event(run, step, row["loss"]))
            if step in evals:
                _log(metrics, _evaluate(run, step))
                if _is_best(run):
                    _export_model(run, folder / "model")
            if _checkpoint_due(run, step, evals):
                metrics.flush()
                _save(run, step)
        if not run.curve:
            _log(metrics, _evaluate(run, step))
    result = _result(run, step)
    if not job.untrained and _kept(run) == len(run.curve) - 1:
        _export_model(run, folder / "model")
    write_json(folder / "result.json", result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def _prepare(job: Job, device: str) -> tuple[Sitting, int]:
    """The run at its last checkpoint, or at step 0; what other settings left in the folder goes."""
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
        meter=Meter(model, device),
        reference=Reference.of(job, model, device),
        joint=Joint.of(job, model, model),
        probe=None if job.probe is None else Passages.load(job.probe),
    )
    state = checkpoint.read_state(folder / "checkpoints")
    if state is None or state["identity"] != job.identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return run, 0
    arrays = checkpoint.restore(folder / "checkpoints", model, run.optimizer)
    run.draw.restore(state["draw"], arrays)
    if run.reference is not None:
        run.reference.restore(arrays)
    run.curve, run.meter.spent = state["curve"], state["spent"]
    _truncate(folder / "metrics.jsonl", state["step"])
    return run, state["step"]


def _truncate(path: Path, step: int) -> None:
    """Drops the rows after a step: they are made again."""
    rows = [line for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
    path.write_text("".join(row for row in rows if json.loads(row)["step"] <= step), "utf-8")


def _evaluate(run: Sitting, step: int) -> dict[str, Any]:
    with run.meter.timing("evaluation"):
        scores = run.objective.evaluate(run.model, run.held, run.device)
        if run.probe is not None:
            scores |= probe(run.model, run.probe, run.device)
    point = {"tokens": run.draw.schedule.tokens_after(step), "flops": run.meter.flops, **scores}
    run.curve.append(point)
    return {"step": step, **point}


def _is_best(run: Sitting) -> bool:
    """Whether the last evaluation is the best one so far, and that one is wanted."""
    rule = run.job.config.early_stop
    return rule is not None and rule.keep == "best" and best(run.curve, rule.on) == len(run.curve) - 1


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
    folder = Path(run.job.folder) / "checkpoints"
    checkpoint.save(folder, step, run.network, run.optimizer, state, arrays)


def _result(run: Sitting, step: int) -> dict[str, Any]:
    tokens = run.draw.schedule.tokens_after(step)
    return {
        "identity": run.job.identity,
        "arm": run.job.arm,
        "seed": run.job.seed,
        "tokens": tokens,
        "corpus_tokens": run.draw.feed.corpus_tokens,
        "curve": run.curve,
        "steps": step,
        "stopped": not run.job.untrained and step < run.draw.schedule.steps,
        "kept": _kept(run),
        **run.meter.result(tokens),
    }


def _kept(run: Sitting) -> int:
    """The number of the evaluation of the model that is exported."""
    rule = run.job.config.early_stop
    return best(run.curve, rule.on) if rule is not None and rule.keep == "best" else len(run.curve) - 1
