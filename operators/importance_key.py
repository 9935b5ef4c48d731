"""A score with its noise, as an integer that sorts like it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Columns, MapOp, Reads, Uses
from operators.kernels.counter import uniform
from operators.kernels.ordering import float64_order
from operators.kernels.scores import Floats, Missing, ScoreIs, log_weights, score_reads

_STREAM = 0x696D706F7274  # keeps apart from other operators that share a seed


class ImportanceKey(MapOp):
    """Adds `priority`, a uint64 that sorts like log weight + temperature x Gumbel noise.

    The k rows with the largest priorities are a sample of k without replacement, drawn in turn with
    probability proportional to exp(log weight / temperature) (Yellott 1977; Kool et al. 2019,
    https://arxiv.org/abs/1903.06059). Rows without a score have a null: see `missing`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"score": "score", "seed": 1},
        {"score": "words", "score_is": "weight", "seed": 1},
        {"score": "score", "score_is": "rank", "descending": False},
    )

    score: str
    """The numeric column to sample by."""

    score_is: ScoreIs = "log_weight"
    """A log weight (nats), a weight (0 is never drawn, a negative one an error), or a rank: no noise."""

    temperature: float = Field(1.0, ge=0)
    """How much noise: 0 takes the best scores, large values sample almost uniformly."""

    descending: bool = True
    """Whether large scores are wanted; otherwise small ones (a weight then counts as its inverse)."""

    missing: Missing = "drop"
    """Rows without a finite score get no key (also a weight of 0), or are an error that names the first."""

    seed: int | None = None
    """Seed of the noise; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        return {**score_reads(self.score, self.score_is, self.missing), "key": pa.uint64()}

    @property
    def adds(self) -> Adds:
        return {"priority": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        score = log_weights(batch, self.score, self.score_is, self.descending, self.missing)
        with np.errstate(over="ignore"):
            noisy = score if self.score_is == "rank" else score + self.temperature * self._gumbel(batch)
        bad = ~np.isfinite(score)
        return {"priority": pa.array(float64_order(np.where(bad, 0.0, noisy)), pa.uint64(), mask=bad)}

    def _gumbel(self, batch: pa.RecordBatch) -> Floats:
        """(n,) standard Gumbel numbers, by key."""
        u = uniform((self.seed or 0) ^ _STREAM, batch.column("key").to_numpy(zero_copy_only=False))
        return -np.log(-np.log(u))
