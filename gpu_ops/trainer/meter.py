"""What a run costs: operations, tokens, seconds, memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gpu_ops.trainer import network
from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.flops import cost


class Meter:
    """Counts over all sittings of a run. spent: seconds of wall time by kind of work and of CPU time, and
    floating-point operations of training (`flops`) and of forward passes to choose by (`looking_flops`)."""

    def __init__(self, model: Any, device: str) -> None:
        self.model, self.device = model, device
        self.spent: dict[str, float] = {}
        self._cost = cost(model)

    @contextmanager
    def timing(self, kind: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._add(kind, time.perf_counter() - wall)
        self._add("cpu", time.process_time() - cpu)

    def trained(self, batch: Batch) -> None:
        """A forward and a backward pass over these rows."""
        self._add("flops", len(batch) * self._flops(batch.inputs.shape[1], learning=True))

    def looked(self, batch: Batch) -> None:
        """A forward pass alone."""
        self._add("looking_flops", len(batch) * self._flops(batch.inputs.shape[1], learning=False))

    @property
    def flops(self) -> float:
        """Of all that was done to train, forward passes to choose by included."""
        return self.spent.get("flops", 0.0) + self.spent.get("looking_flops", 0.0)

    def _flops(self, seq_len: int, learning: bool) -> float:
        """Of one row."""
        if self._cost is not None:
            return self._cost.of_row(seq_len) if learning else self._cost.of_looking(seq_len)
        whole = network.flops_per_token(self.model, seq_len) * seq_len
        return whole if learning else whole / 3

    def _add(self, kind: str, amount: float) -> None:
        self.spent[kind] = self.spent.get(kind, 0.0) + amount

    def result(self, tokens: int) -> dict[str, Any]:
        """The figures of a run that has trained on so many tokens."""
        training = self.spent.get("training", 0.0)
        on_gpu = self.device.startswith("cuda")
        return {
            "parameters": network.parameters(self.model),
            "trained_parameters": network.trained_parameters(self.model),
            "model_bytes": network.model_bytes(self.model),
            "flops": self.flops,
            "looking_flops": self.spent.get("looking_flops", 0.0),
            "tokens_per_s": tokens / training if training else 0.0,
            "seconds": training + self.spent.get("evaluation", 0.0),
            "cpu_seconds": self.spent.get("cpu", 0.0),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "peak_gpu_bytes": torch.cuda.max_memory_allocated(self.device) if on_gpu else 0,
        }
