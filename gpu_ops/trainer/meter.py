"""What a run costs: operations, tokens, seconds, memory, energy (survey 2.2)."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from gpu_ops.trainer import network, tuning
from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.classifier import Mlp
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.energy import emitted, energy_meter
from gpu_ops.trainer.flops import Cost, cost
from gpu_ops.trainer.joint import TwoHeads
from gpu_ops.trainer.peaks import peak_flops

LATENCIES = 1024  # steps whose time is remembered


class Meter:
    """Counts over all sittings of a run, what was thrown away by a spike included. spent: seconds of wall
    time by kind of work and of CPU time, floating-point operations of training (`flops`) and of forward
    passes to choose by (`looking_flops`), kilowatt-hours (`kwh`)."""

    def __init__(self, model: Any, config: TrainConfig, device: str) -> None:
        self.model, self.config, self.device = model, config, device
        self.spent: dict[str, float] = {}
        # Looked at before the model may be taken apart.
        self._costs: dict[int, Cost | None] = {id(model): _cost_of(model)}
        if isinstance(model, TwoHeads):
            self._costs[id(model.language)] = _cost_of(model.language)
        self._steps: list[float] = []
        self._energy = energy_meter(config.energy)
        self._peak = config.peak_flops or peak_flops(device)

    @contextmanager
    def timing(self, kind: str) -> Iterator[None]:
        """Around work of a kind; the time of `training` is that of one step."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        took = time.perf_counter() - wall
        self._add(kind, took)
        self._add("cpu", time.process_time() - cpu)
        if kind == "training":
            self._steps = [*self._steps[-LATENCIES + 1 :], took]

    def trained(self, batch: Batch, model: Any = None) -> None:
        """A forward and a backward pass over these rows, of another model than the run's if one is given; the
        output layer's are of learned targets only."""
        self._add("flops", self._flops(batch, self.model if model is None else model, learning=True))

    def looked(self, batch: Batch, model: Any) -> None:
        """A forward pass of this model alone."""
        self._add("looking_flops", self._flops(batch, model, learning=False))

    @property
    def flops(self) -> float:
        """Of all that was done to train, forward passes to choose by included."""
        return self.spent.get("flops", 0.0) + self.spent.get("looking_flops", 0.0)

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: operations a second by the device's peak; None where that is not known."""
        training = self.spent.get("training", 0.0)
        return self.flops / training / self._peak if self._peak and training else None

    def settle(self) -> None:
        """Adds the energy up to now."""
        if self._energy is not None:
            self._add("kwh", self._energy.take())

    def close(self) -> None:
        if self._energy is not None:
            self._energy.close()

    def speed(self, tokens: int) -> dict[str, Any]:
        """How fast it goes and what it takes, after so many tokens."""
        training = self.spent.get("training", 0.0)
        on_gpu = self.device.startswith("cuda")
        steps = np.array(self._steps or [0.0])
        return {
            "tokens_per_s": tokens / training if training else 0.0,
            "step_seconds": float(np.median(steps)),
            "step_seconds_p95": float(np.quantile(steps, 0.95)),
            "mfu": self.mfu,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "peak_gpu_bytes": torch.cuda.max_memory_allocated(self.device) if on_gpu else 0,
            **emitted(self.config.energy, self.spent.get("kwh", 0.0)),
        }

    def result(self, tokens: int) -> dict[str, Any]:
        """The figures of a run that has trained on so many tokens."""
        return {
            "parameters": network.parameters(self.model),
            "trained_parameters": network.trained_parameters(self.model),
            "model_bytes": network.model_bytes(self.model),
            "bytes_by_dtype": network.bytes_by_dtype(self.model),
            "flops": self.flops,
            "looking_flops": self.spent.get("looking_flops", 0.0),
            "seconds": self.spent.get("training", 0.0) + self.spent.get("evaluation", 0.0),
            "cpu_seconds": self.spent.get("cpu", 0.0),
            **self.speed(tokens),
        }

    def _flops(self, batch: Batch, model: Any, learning: bool) -> float:
        """Of these rows; the output layer's are of learned targets only."""
        if id(model) not in self._costs:
            self._costs[id(model)] = _cost_of(model)
        known, seq_len = self._costs[id(model)], batch.inputs.shape[1]
        if known is None:
            whole = batch.tokens * network.flops_per_token(model, seq_len) / (1 if learning else 3)
        else:
            whole = len(batch) * (known.of_row(seq_len) if learning else known.of_looking(seq_len))
        if batch.targets.ndim == 1 or tuning.is_prompted(model):
            return whole
        return whole - network.head_flops(model, learning) * (batch.targets.size - int(batch.learned.sum()))

    def _add(self, kind: str, amount: float) -> None:
        self.spent[kind] = self.spent.get(kind, 0.0) + amount


def _cost_of(model: Any) -> Cost | None:
    """None for what has a formula (see `network.flops_per_token`)."""
    if isinstance(model, Mlp):
        return None
    return cost(model.classifier if isinstance(model, TwoHeads) else model)
