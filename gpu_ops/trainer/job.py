"""One training run as data: it travels to worker processes, and its identity says if it was done before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_ops.trainer.config import TrainConfig


class Died(RuntimeError):
    """A process of a run ended without saying why; the run can go on from its last checkpoint."""


@dataclass(frozen=True)
class Job:
    """One (arm, seed) of a comparison. `tokens` is a path for the feed, `held` one for the evaluation;
    `untrained`: only to evaluate the model at step 0; vocab: tokens, or numbers in a vector. joint: paths of
    the further parts' tokens; probe: one of Passages. A result under another `identity` does not count."""

    arm: str
    seed: int
    config: TrainConfig
    tokens: str
    held: str
    shuffle: bool
    vocab: int
    folder: str
    untrained: bool
    identity: str
    classes: tuple[str, ...] = ()
    joint: tuple[str, ...] = ()
    probe: str | None = None

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}"

    def finished(self) -> dict[str, Any] | None:
        """The result of this very job if it was done before."""
        path = Path(self.folder) / "result.json"
        if not path.exists():
            return None
        result: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return result if result["identity"] == self.identity else None
