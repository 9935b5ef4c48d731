"""Scores texts by how much they resemble a target (DSIR)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from operators.contract import FilePath, Part, Recipe
from operators.ngram_counts import Buckets, Orders


class Dsir(Recipe):
    """Adds `log_weight`: how much more likely a text is under the target's hashed n-grams than under
    the raw corpus' (Xie et al. 2023, 'Data Selection for Language Models via Importance Resampling',
    https://arxiv.org/abs/2302.03169, section 3), and `ngrams`, the number of n-grams.

    Two counts (`ngram_counts`) over the input and over the target, then a Map (`dsir_weight`). Unlike
    the paper's code: tokens are bytes, so any language and any broken text has them; counts are
    smoothed; and the weight is the mean per n-gram, because sums of short and long texts cannot be
    compared; `normalise: sum` is the paper's weight.

    Select with `importance`. Means differ by about 1 nat, less than the noise of temperature 1, which
    would make the choice nearly random: use `temperature: 0` (the best) or about 0.1 with them. Sums
    differ by a hundred nats and more; temperature 1 is the paper's resampling.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"target": "configs/quickstart/sample/target_python.jsonl", "buckets": 1000},
        {"target": "configs/quickstart/sample/target_python.jsonl", "ngrams": [1, 3], "normalise": "sum"},
    )

    target: FilePath
    """JSONL or Parquet file, or glob, of the texts to resemble; read with the source's text column."""

    ngrams: Orders = (1, 2)
    """Which n: single tokens and pairs by default."""

    buckets: Buckets = 10_000
    """How many hash buckets all n-grams share."""

    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count, so that an n-gram that the target lacks does not rule a text out."""

    normalise: Literal["mean", "sum"] = "mean"
    """The mean over the n-grams, or their sum, which grows with the length of the text."""

    def parts(self) -> list[Part]:
        counts = {"ngrams": self.ngrams, "buckets": self.buckets}
        weight = {**counts, "smoothing": self.smoothing, "normalise": self.normalise}
        return [
            Part("raw", "ngram_counts", counts),
            Part("target", "ngram_counts", counts, source=self.target),
            Part("weight", "dsir_weight", weight, uses={"raw": "raw", "target": "target"}),
        ]
