"""How much more likely a text's n-grams are in a target than in the raw corpus."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses
from operators.kernels.ngrams import orders_wanted, sum_ngrams
from operators.kernels.text_buffers import text_buffers
from operators.ngram_counts import Buckets, Orders


class DsirWeight(MapOp):
    """Adds `log_weight`, the log ratio of n-gram probabilities, target to raw, in nats, and `ngrams`,
    the number of n-grams.

    Uses the artifacts `raw` and `target` of two `ngram_counts` with the same n-grams and buckets. A
    bucket with count c of a total C has the probability (c + smoothing) / (C + smoothing x buckets).
    The sum runs in reading order, so it is equal to the last bit for any batch. A text without
    n-grams has no weight: null.
    """

    # It needs two artifacts of `ngram_counts`: the laws run it as a part of `dsir`.
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    ngrams: Orders = (1, 2)
    """Which n, as in both artifacts."""

    buckets: Buckets = 10_000
    """How many hash buckets, as in both artifacts."""

    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count, so that an n-gram that the target lacks does not rule a text out."""

    normalise: Literal["mean", "sum"] = "mean"
    """The mean over the n-grams, or their sum, which grows with the length of the text."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"log_weight": pa.float64(), "ngrams": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        table = self._log_probability(uses, "target") - self._log_probability(uses, "raw")
        data, starts, ends = text_buffers(batch.column("text"))
        sums, counts = sum_ngrams(data, starts, ends, orders_wanted(self.ngrams), table)
        weight = sums / np.maximum(counts, 1) if self.normalise == "mean" else sums
        return {"log_weight": pa.array(weight, mask=counts == 0), "ngrams": pa.array(counts, pa.int64())}

    def _log_probability(self, uses: Uses, name: str) -> npt.NDArray[np.float64]:
        """(buckets,) nats, by additive smoothing."""
        counts = uses[name]["counts"]
        if len(counts) != self.buckets:
            raise ValueError(
                f"dsir_weight: the counts of {name} have {len(counts)} buckets, not {self.buckets}; "
                f"count and weigh with the same fields"
            )
        if name == "target" and not counts.any():
            raise ValueError(
                "dsir_weight: the target has no text; name a file that has some in its text column"
            )
        return np.log(counts + self.smoothing) - np.log(counts.sum() + self.smoothing * self.buckets)
