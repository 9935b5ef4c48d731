"""Spikes of a run: found as it goes, written down, and left out after going back."""

from __future__ import annotations

import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

from gpu_ops.trainer.log import whole_lines
from gpu_ops.trainer.sitting import Sitting
from gpu_ops.trainer.spikes import Step
from gpu_ops.trainer.update import loss_now

SPIKES = "spikes.jsonl"


def spikes(folder: Path) -> list[dict[str, Any]]:
    """Those that a run has gone back from: the step at which it showed, its loss, the batches left out."""
    return whole_lines(folder / SPIKES)


def skipped(folder: Path) -> set[int]:
    """The batches that were left out."""
    return {number for spike in spikes(folder) for number in spike["batches"]}


def looked_at(draw: dict[str, Any], numbers: set[int]) -> bool:
    """Whether a checkpoint has seen batches that are to be left out, as a selector may before they are used:
    then it is of no use."""
    return any(number < draw["number"] for number in numbers.difference(draw["skipped"]))


def found_spike(run: Sitting, step: Step, last: bool) -> bool:
    """Whether a spike shows at this step. Its batches are written down, and will be left out. All processes.

    FloatingPointError for a loss that is no number where the config has no rule, and for too many spikes."""
    name, rate, folder = run.job.name, run.job.config.lr, Path(run.job.folder)
    if run.watch is None:
        if math.isfinite(step.loss):
            return False
        raise FloatingPointError(
            f"{name}: the loss is {step.loss} at step {step.step}; lower lr ({rate}), or let `spikes` leave "
            "such batches out"
        )
    look = partial(loss_now, run)
    found = run.watch.see(step, look) or (run.watch.end(look) if last else set())
    if not found:
        return False
    before = len(spikes(folder))
    run.world.wait()  # everyone has counted
    if before == run.watch.rule.most:
        raise FloatingPointError(
            f"{name}: the loss jumps again at step {step.step}, after {before} spikes were left out "
            f"({folder / SPIKES}); lower lr ({rate}) or look at the data"
        )
    if run.world.first:
        _write(folder / SPIKES, step, found)
    run.world.wait()
    return True


def _write(path: Path, step: Step, found: set[int]) -> None:
    loss = step.loss if math.isfinite(step.loss) else str(step.loss)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step.step, "loss": loss, "batches": sorted(found)}) + "\n")
        file.flush()
        os.fsync(file.fileno())
