"""How rare the words of each text are, from the counts of a corpus."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses
from operators.kernels.ngrams import orders_wanted, sum_ngrams
from operators.kernels.text_buffers import text_buffers


class WordRarity(MapOp):
    """Adds `rarity`, `rarity_sum` and `words`; the face of `rarity`, which says what they are.

    Uses the artifact `counts` of `ngram_counts` with single words. The sum runs in reading order in float64,
    so it is equal to the last bit for any batch.
    """

    # It needs the artifact of `ngram_counts`: the laws run it as a part of `rarity`.
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    smoothing: float = Field(0.0, ge=0)
    """Added to every bucket's count."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"rarity": pa.float32(), "rarity_sum": pa.float32(), "words": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        table = surprise(uses["counts"]["counts"], self.smoothing)
        total, words = sum_ngrams(*text_buffers(batch.column("text")), orders_wanted((1,)), table)
        mean = total / np.maximum(words, 1)
        found = {"rarity": mean, "rarity_sum": total}
        with np.errstate(over="ignore"):
            columns = {
                name: pa.array(values.astype(np.float32), pa.float32(), mask=words == 0)
                for name, values in found.items()
            }
        return {**columns, "words": pa.array(words, pa.int64())}


def surprise(counts: npt.NDArray[np.int64], smoothing: float) -> npt.NDArray[np.float64]:
    """(buckets,) -log p in nats, p = (count + smoothing) / (all counts + smoothing x buckets); a bucket that
    was never counted has the p of one word where nothing is added."""
    whole = float(counts.sum()) + smoothing * len(counts)
    seen = counts + smoothing
    return np.log(max(whole, 1.0)) - np.log(np.where(seen > 0, seen, 1.0))
