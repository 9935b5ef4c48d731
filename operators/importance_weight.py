"""Who was sampled, and how many rows each stands for; the face of the importance samplers."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, Adds, Columns, Kind, MapOp, Reads, Uses, drop_column
from operators.kernels.grouping import group_codes, places_of
from operators.kernels.ordering import order_float64
from operators.kernels.scores import Floats, ScoreIs, log_weights, score_reads

_WITHIN, _WHY = "/cut.within", "/eligible.why"
NOT_SAMPLED, NO_SCORE = "not_sampled", "no_score"
REASONS = ("too_high", "suspect")  # what else may stand in `why`


class ImportanceWeight(MapOp):
    """Adds `drop` and, for the sampled rows, `weight`; a part of `importance` and its like.

    Given the best priority K that was left out (`importance_threshold`), a row of log weight phi was sampled
    with the probability 1 - exp(-exp((phi - K) / temperature)); `weight` is its inverse. Sums over the
    sampled rows times their weights are unbiased for those over all rows with a weight (Duffield, Lund &
    Thorup 2007, priority sampling; Kool et al. 2019, arXiv 1903.06059, section 4.2). That holds for token
    budgets too: a sampled row may come first without changing where the walk ends (Ting 2017).
    Without noise, and where nobody was left out, weights are 1.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    score: str
    """The column that was sampled by."""
    score_is: ScoreIs = "log_weight"
    """What it holds."""
    temperature: float = Field(1.0, ge=0)
    """The unit of the noise."""
    descending: bool = True
    """Whether large scores were wanted."""
    group: str | None = None
    """The column whose every value had a budget of its own."""
    exponent: float = Field(1.0, ge=0, le=1)
    """The power of the weights: 1 is unbiased, 0 makes them all 1."""
    why: bool = False
    """Whether the part `eligible` says why some rows could not be sampled."""
    noise: Literal["accepted"] | None = None
    """Whether somebody accepted that the score seeks noise; it changes nothing but the record."""

    @property
    def reads(self) -> Reads:
        extra: dict[str, pa.DataType | Kind] = {_WHY: DROP} if self.why else {}
        extra |= {self.group: Kind.LABEL} if self.group else {}
        return {**score_reads(self.score, self.score_is, "drop"), _WITHIN: pa.bool_(), **extra}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "weight": pa.float64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        within = batch.column(_WITHIN)
        kept, known = (np.asarray(x, bool) for x in (within.fill_null(False), within.is_valid()))
        reason = np.where(kept, -1, np.where(known, 0, 1))
        if self.why:
            reason = np.where(known, reason, self._why(batch))
        weight = self._probability(batch, kept, uses) ** -self.exponent
        return {
            "drop": drop_column(reason, [NOT_SAMPLED, NO_SCORE, *REASONS]),
            "weight": pa.array(weight, mask=~kept),
        }

    def _why(self, batch: pa.RecordBatch) -> np.ndarray:
        """(n,) the places of the reasons."""
        texts = batch.column(_WHY).cast(pa.string()).to_numpy(zero_copy_only=False)
        why = np.ones(len(texts), np.int64)
        for place, name in enumerate(REASONS, 2):
            why[texts == name] = place
        return why

    def _probability(self, batch: pa.RecordBatch, kept: np.ndarray, uses: Uses) -> Floats:
        """(n,) of being sampled; 1 for rows that were not."""
        out = np.ones(batch.num_rows)
        if self.score_is == "rank" or not self.temperature:
            return out
        threshold = uses["threshold"]
        names, codes = group_codes(batch.column(self.group) if self.group else None, batch.num_rows)
        best_out = threshold["priority"][places_of(names, threshold["names"])[codes]]
        some = kept & (best_out > 0)
        phi = log_weights(batch, self.score, self.score_is, self.descending)[some]
        with np.errstate(over="ignore", under="ignore"):
            out[some] = -np.expm1(-np.exp((phi - order_float64(best_out[some])) / self.temperature))
        return np.maximum(out, np.finfo(np.float64).tiny)
