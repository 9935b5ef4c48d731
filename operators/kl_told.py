"""The divergence of a target's n-grams from those of these rows, beside that from the raw corpus'."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Artifact, Columns, FoldOp, Reads, Telling, Uses
from operators.kernels.divergence import divergence
from operators.kernels.ngrams import count_ngrams, orders_wanted
from operators.kernels.text_buffers import text_buffers
from operators.ngram_counts import Buckets, Orders, check_target


class KlTold(FoldOp, Telling):
    """Counts n-grams as `ngram_counts` does, and compares them with the artifacts `target` and `raw`.

    The face of `kl_reduction`, which says what the figures are.

    Artifact: `ngrams` (1,) of these rows; `kl` (1,), nats, NaN without any n-gram; `raw_kl` (1,), NaN
    without `raw`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    ngrams: Orders = (1, 2)
    """Which n, as in the artifacts."""
    buckets: Buckets = 10_000
    """How many hash buckets, as in the artifacts."""
    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 8 * self.buckets

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        data, starts, ends = text_buffers(batch.column("text"))
        return {"counts": count_ngrams(data, starts, ends, orders_wanted(self.ngrams), self.buckets)}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"counts": a["counts"] + b["counts"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        for name, artifact in uses.items():
            if "counts" not in artifact or len(artifact["counts"]) != self.buckets:
                raise ValueError(
                    f"kl_reduction: {name} has no counts of {self.buckets} buckets; name an ngram_counts "
                    f"node, or a part of dsir such as NODE/raw, and use its n-grams and buckets here"
                )
        target, counts = uses["target"]["counts"], state["counts"]
        check_target("kl_reduction", target)
        kl = divergence(target, counts, self.smoothing) if counts.any() else np.nan
        raw = divergence(target, uses["raw"]["counts"], self.smoothing) if "raw" in uses else np.nan
        return {"ngrams": np.array([counts.sum()]), "kl": np.array([kl]), "raw_kl": np.array([raw])}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def tell(self, state: Artifact) -> str:
        ngrams, kl, raw = (state[name][0] for name in ("ngrams", "kl", "raw_kl"))
        if not ngrams:
            return "no n-gram is left to compare with the target"
        line = f"KL to the target {kl:.4f} nats over {int(ngrams):,} n-grams"
        return line if np.isnan(raw) else f"{line}, reduced by {raw - kl:.4f} from {raw:.4f}"
