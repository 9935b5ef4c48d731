"""How many rows of which length every step has, where they begin in the data, and at which rate it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_select import candidates

Ints = npt.NDArray[np.int64]
DECAY = 0.2  # share of the steps over which wsd falls


@dataclass(frozen=True)
class Schedule:
    """rows, seq_len: (S,) of every step. candidates: rows that are looked at for one that is trained on.
    unit: what places in the data count. scale: tokens that are counted for one of a row's `seq_len`."""

    rows: Ints
    seq_len: Ints
    candidates: int
    unit: Literal["tokens", "rows"]
    scale: float = 1.0

    @staticmethod
    def of(
        config: TrainConfig,
        unit: Literal["tokens", "rows"] = "tokens",
        budget: float | None = None,
        scale: float = 1.0,
    ) -> Schedule:
        """As many steps as the budget (of rows; by default `tokens`) takes, the last one whole."""
        budget = (config.tokens or 0) / config.seq_len if budget is None else budget
        steps = math.ceil(budget / config.batch_size)
        rows, seq_len = (np.full(steps, size, np.int64) for size in (config.batch_size, config.seq_len))
        return Schedule(rows, seq_len, candidates(config.select), unit, scale)

    @property
    def steps(self) -> int:
        return len(self.rows)

    def tokens_after(self, step: int) -> int:
        """Tokens of the rows that are trained on in the first steps."""
        return round(float(self._trained[step]) * self.scale)

    def place(self, number: int) -> tuple[int, int, int]:
        """(start, rows, tokens of a row) of the data's batch of that number. Those beyond the last step, for
        runs that skip batches or look at several for one step, are like the last."""
        last = min(number, self.steps - 1)
        rows, seq_len = int(self.rows[last]) * self.candidates, int(self.seq_len[last])
        units = rows * seq_len if self.unit == "tokens" else rows
        return int(self._starts[last]) + (number - last) * units, rows, seq_len

    @cached_property
    def _trained(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.rows * self.seq_len)])

    @cached_property
    def _starts(self) -> Ints:
        units = self.rows * self.seq_len if self.unit == "tokens" else self.rows
        return np.concatenate([[0], np.cumsum(units * self.candidates)])


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Linear warm-up from step 0 (which already moves), then `schedule` down to `lr_end` of the peak."""
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.lr * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    match config.schedule:
        case "cosine":
            height = (1 + math.cos(math.pi * share)) / 2
        case "linear":
            height = 1 - share
        case "wsd":
            height = min(1.0, (steps - step) / max(1, round(DECAY * steps)))
        case "constant":
            return config.lr
    return config.lr * (config.lr_end + (1 - config.lr_end) * height)
