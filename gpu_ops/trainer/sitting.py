"""What a training loop holds on to, from one start to the next kill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from gpu_ops.trainer.draw import Draw
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.joint import Joint
from gpu_ops.trainer.meter import Meter
from gpu_ops.trainer.objective import Objective
from gpu_ops.trainer.precision import Precision
from gpu_ops.trainer.probe import Passages
from gpu_ops.trainer.select.reference import Reference
from gpu_ops.trainer.spikes import Watch
from gpu_ops.trainer.world import World


@dataclass
class Sitting:
    """model: what is called, wrapped where several processes train it; network: the model itself.
    reference: what a selector compares losses with, where it does. joint: losses that every step adds. probe:
    passages to continue. done: steps that were taken, at the end. curve: the evaluations so far."""

    job: Job
    world: World
    device: str
    network: Any
    model: Any
    optimizer: torch.optim.Optimizer
    objective: Objective
    precision: Precision
    draw: Draw
    held: Any
    meter: Meter
    watch: Watch | None = None
    reference: Reference | None = None
    joint: Joint = field(default_factory=Joint)
    probe: Passages | None = None
    done: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
