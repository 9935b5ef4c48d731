"""The loss-spike rule: which batches made the loss jump, told apart from a change of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpu_ops.trainer.config_parts import SpikeRule

REMEMBERED = 4  # calm steps whose batches are looked at again
LEAST = 20  # calm steps that are needed before anything can be called high
FLOOR = 0.01  # of the level: a spread below it is taken for this
MAD = 1.4826  # of a normal distribution: the standard deviation by the median absolute deviation

Look = Callable[[int], float]


@dataclass(frozen=True)
class Step:
    """One step: its loss before the update, and the batches that it was trained on."""

    step: int
    loss: float
    numbers: tuple[int, ...]


@dataclass
class Watch:
    """What the rule has seen. `calm`: the last steps without alarm, at most `window`. `pending`: those since
    an alarm, until it is judged.

    A step whose loss is above the last LEAST calm ones' median by `factor` robust standard deviations raises
    an alarm, which is judged `wait` steps later:
    - most losses since are back: a few batches stood out, and are the spike;
    - they are still high, and so are, now, those of the batches just before the alarm: the model was hurt
      (Chowdhery et al. 2022, PaLM, section 5.1), and the high batches are the spike;
    - they are still high, but the batches from before are as easy as they were: the data changed. No alarm;
      the new losses are the calm ones.
    """

    rule: SpikeRule
    calm: list[Step] = field(default_factory=list)
    pending: list[Step] = field(default_factory=list)

    def see(self, step: Step, look: Look) -> set[int]:
        """The batches of a spike, if one has been found. look: the loss of a batch under the model now."""
        if not math.isfinite(step.loss):
            return {n for bad in [*self._high(), step] for n in bad.numbers}
        if not self.pending and step.loss <= self.limit:
            self.calm = [*self.calm, step][-self.rule.window :]
            return set()
        self.pending.append(step)
        return set() if len(self.pending) <= self.rule.wait else self._judge(look)

    def end(self, look: Look) -> set[int]:
        """The batches of a spike among the last steps, whose alarm has to be judged before its time."""
        return self._judge(look) if self.pending else set()

    @property
    def limit(self) -> float:
        """The highest loss without alarm."""
        if len(self.calm) < min(LEAST, self.rule.window):
            return math.inf
        # The spread from one step to the next, so that losses that fall are not taken for a wide spread.
        steps = np.abs(np.diff([step.loss for step in self.calm]))
        spread = max(MAD * float(np.median(steps)) / math.sqrt(2), FLOOR * abs(self._level))
        return self._level + self.rule.factor * spread

    @property
    def _level(self) -> float:
        return float(np.median([step.loss for step in self.calm[-LEAST:]]))

    def _high(self) -> list[Step]:
        limit = self.limit
        return [step for step in self.pending if step.loss > limit]

    def _judge(self, look: Look) -> set[int]:
        high = self._high()
        since = [step.loss for step in self.pending[1:]]
        if since and len(high) - 1 > len(since) / 2 and not self._hurt(since, look):
            self.calm, self.pending = self.pending, []
            return set()
        return {number for step in high for number in step.numbers}

    def _hurt(self, since: Sequence[float], look: Look) -> bool:
        """Whether what was learned before the alarm is lost: it costs half of what the jump does."""
        before = self.calm[-REMEMBERED:]
        jump = float(np.mean(since)) - self._level
        now = np.mean([look(number) for step in before for number in step.numbers])
        rise = float(now) - float(np.mean([step.loss for step in before]))
        return not rise <= jump / 2  # a loss that is no number anymore, too

    def state(self) -> list[Any]:
        """For a checkpoint, which is never written while an alarm is pending."""
        return [[step.step, step.loss, list(step.numbers)] for step in self.calm]

    def restore(self, state: Sequence[Any]) -> None:
        self.calm = [Step(step, loss, tuple(numbers)) for step, loss, numbers in state]
        self.pending = []
