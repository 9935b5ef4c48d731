"""How much more likely a text's n-grams are in a target than in the raw corpus."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses
from operators.kernels.divergence import log_probabilities
from operators.kernels.ngrams import orders_wanted, sum_ngrams
from operators.kernels.text_buffers import text_buffers
from operators.ngram_counts import Buckets, Orders, check_target


class DsirWeight(MapOp):
    """Adds `log_weight`, the log ratio of n-gram probabilities, target to raw, in nats, and `ngrams`,
    the number of n-grams; with several targets also `target`, the one of the largest weight.

    Uses the artifacts `raw` and `target` (of several targets `target_NAME`) of `ngram_counts` with the
    same n-grams and buckets. A bucket with count c of a total C has the probability
    (c + smoothing) / (C + smoothing x buckets). The sum runs in reading order, so it is equal to the last
    bit for any batch. A text without n-grams has no weight: null.
    """

    # It needs artifacts of `ngram_counts`: the laws run it as a part of `dsir`.
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    ngrams: Orders = (1, 2)
    """Which n, as in all artifacts."""

    buckets: Buckets = 10_000
    """How many hash buckets, as in all artifacts."""

    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count, so that an n-gram that the target lacks does not rule a text out."""

    normalise: Literal["mean", "sum"] = "mean"
    """The mean over the n-grams, or their sum, which grows with the length of the text."""

    targets: tuple[str, ...] = ()
    """The names of several targets; of equal weights the first one counts as the largest."""

    combine: Literal["max", "mean"] = "max"
    """The largest of the targets' weights, or their mean."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        best = {"target": pa.string()} if self.targets else {}
        return {"log_weight": pa.float64(), **best, "ngrams": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        names = [f"target_{name}" for name in self.targets] or ["target"]
        raw = self._log_probability(uses, "raw")
        text, wanted = text_buffers(batch.column("text")), orders_wanted(self.ngrams)
        sums = []
        for name in names:
            each, counts = sum_ngrams(*text, wanted, self._log_probability(uses, name) - raw)
            sums.append(each)
        table = np.stack(sums)
        weight = table.max(axis=0) if self.combine == "max" else table.mean(axis=0)
        weight = weight / np.maximum(counts, 1) if self.normalise == "mean" else weight
        out: dict[str, pa.Array] = {"log_weight": pa.array(weight, mask=counts == 0)}
        if self.targets:
            place = pa.array(np.argmax(table, axis=0), mask=counts == 0)
            out["target"] = pa.array(self.targets, pa.string()).take(place)
        return {**out, "ngrams": pa.array(counts, pa.int64())}

    def _log_probability(self, uses: Uses, name: str) -> npt.NDArray[np.float64]:
        """(buckets,) nats, by additive smoothing."""
        counts = uses[name]["counts"]
        if len(counts) != self.buckets:
            raise ValueError(
                f"dsir_weight: the counts of {name} have {len(counts)} buckets, not {self.buckets}; "
                f"count and weigh with the same fields"
            )
        if name != "raw":
            check_target("dsir_weight", counts, name)
        return log_probabilities(counts, self.smoothing)
