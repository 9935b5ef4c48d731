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
from gpu_ops.trainer.ramps import sizes

Ints = npt.NDArray[np.int64]
DECAY = 0.2  # share of the steps over which wsd falls


@dataclass(frozen=True)
class Schedule:
    """rows, seq_len: (S,) of every step. candidates: rows that are looked at for one that is trained on.
    unit: what places in the data count. scale: tokens that are counted for one of a row's `seq_len`. span:
    tokens of the data that every row takes, where that is not its own length."""

    rows: Ints
    seq_len: Ints
    candidates: int
    unit: Literal["tokens", "rows"]
    scale: float = 1.0
    span: int | None = None

    @staticmethod
    def of(
        config: TrainConfig,
        unit: Literal["tokens", "rows"] = "tokens",
        budget: float | None = None,
        scale: float = 1.0,
    ) -> Schedule:
        """As many steps as the budget (of rows; by default `tokens`) takes, the last one whole where all are
        alike."""
        budget = (config.tokens or 0) / config.seq_len if budget is None else budget
        warmup, looked_at = config.seq_len_warmup, candidates(config.select)
        if warmup is not None or config.batch_ramp is not None:
            tokens = math.ceil(budget * config.seq_len)
            found = sizes(tokens, config.batch_size, config.seq_len, config.batch_ramp, warmup)
            span = config.seq_len if warmup is not None and warmup.truncate else None
            return Schedule(*found, looked_at, unit, scale, span)
        steps = math.ceil(budget / config.batch_size)
        rows, seq_len = (np.full(steps, size, np.int64) for size in (config.batch_size, config.seq_len))
        return Schedule(rows, seq_len, looked_at, unit, scale)

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
        units = rows * (self.span or seq_len) if self.unit == "tokens" else rows
        return int(self._starts[last]) + (number - last) * units, rows, seq_len

    @property
    def end(self) -> int:
        """The place after the last step's batch, where none is skipped or looked at further."""
        return int(self._starts[-1])

    def position(self, step: int) -> float:
        """How far the run is before a step, in steps of equal size: the learning rate follows the tokens, so
        that it falls alike over the same data (Li et al. 2022). `step` itself where all are alike."""
        return int(self._trained[step]) * self.steps / int(self._trained[-1])

    def eval_steps(self, evals: int) -> list[int]:
        """After which steps the model is evaluated, at equal distances in tokens; the last is among them."""
        whole = int(self._trained[-1])
        marks = [-(-whole * k // evals) for k in range(1, evals + 1)]
        return sorted(set(np.searchsorted(self._trained, marks).tolist()))

    @cached_property
    def _trained(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.rows * self.seq_len)])

    @cached_property
    def _starts(self) -> Ints:
        length = self.seq_len if self.span is None else self.span
        units = self.rows * length if self.unit == "tokens" else self.rows
        return np.concatenate([[0], np.cumsum(units * self.candidates)])


def learning_rate(step: float, steps: int, config: TrainConfig) -> float:
    """Linear warm-up from step 0 (which already moves), then `schedule` down to `lr_end` of the peak."""
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.lr * min(1.0, (step + 1) / warm)
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
