"""A score with its noise, as an integer that sorts like it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators.contract import Adds, Columns, Kind, MapOp, Reads, Uses
from operators.kernels.counter import uniform
from operators.kernels.ordering import float64_order

_STREAM = 0x696D706F7274  # keeps apart from other operators that share a seed

Floats = npt.NDArray[np.float64]


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

    score_is: Literal["log_weight", "weight", "rank"] = "log_weight"
    """A log weight (nats), a weight (0 is never drawn, a negative one an error), or a rank: no noise."""

    temperature: float = Field(1.0, ge=0)
    """How much noise: 0 takes the best scores, large values sample almost uniformly."""

    descending: bool = True
    """Whether large scores are wanted; otherwise small ones (a weight then counts as its inverse)."""

    missing: Literal["drop", "error"] = "drop"
    """Rows without a finite score get no key (also a weight of 0), or are an error that names the first."""

    seed: int | None = None
    """Seed of the noise; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        needs_uid = self.missing == "error" or self.score_is == "weight"  # to name a culprit
        return {self.score: Kind.NUMBER, "key": pa.uint64(), **({"uid": pa.int64()} if needs_uid else {})}

    @property
    def adds(self) -> Adds:
        return {"priority": pa.uint64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        score = self._scores(batch)
        with np.errstate(over="ignore"):
            noisy = score if self.score_is == "rank" else score + self.temperature * self._gumbel(batch)
        bad = ~np.isfinite(score)
        return {"priority": pa.array(float64_order(np.where(bad, 0.0, noisy)), pa.uint64(), mask=bad)}

    def _scores(self, batch: pa.RecordBatch) -> Floats:
        """Log weights or ranks, the wanted ones large; anything not finite is no score."""
        column = pc.cast(batch.column(self.score), pa.float64(), safe=False)
        score = pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False)
        if self.missing == "error":
            self._refuse(batch, column, ~np.isfinite(score), "drop such rows before, or set missing: drop")
        if self.score_is == "weight":
            self._refuse(batch, column, score < 0, "a weight is >= 0; is it a log_weight?")
            with np.errstate(divide="ignore"):
                score = np.log(score)
        return score if self.descending else -score

    def _refuse(self, batch: pa.RecordBatch, column: pa.Array, bad: np.ndarray, hint: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            uid = batch.column("uid")[row].as_py()
            raise ValueError(f"importance: {self.score} is {column[row].as_py()} at uid {uid}; {hint}")

    def _gumbel(self, batch: pa.RecordBatch) -> Floats:
        """(n,) standard Gumbel numbers, by key."""
        u = uniform((self.seed or 0) ^ _STREAM, batch.column("key").to_numpy(zero_copy_only=False))
        return -np.log(-np.log(u))
