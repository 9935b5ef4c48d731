"""How much nearer a selection is to a target than what it was selected from."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from operators.contract import FilePath, Part, Recipe
from operators.ngram_counts import Buckets, Orders


class KlReduction(Recipe):
    """Tells, at the end of the run and in the report, KL(target || these rows) in nats over hashed n-grams,
    and by how much it is less than KL(target || raw): the KL reduction (Xie et al. 2023,
    https://arxiv.org/abs/2302.03169). It drops nothing and adds no column.

    Put it after a selection. `raw` names the counts of what was selected from: `pick/raw` where the node
    `pick` is a `dsir`; else any `ngram_counts` node. A random selection reduces KL by about 0, or by less,
    for few n-grams beside `buckets` are mostly smoothing. In the paper the reduction goes with accuracy
    after training (r = .82); it does not see repetition or quality, only n-gram frequencies.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"target": "configs/quickstart/sample/target_python.jsonl", "buckets": 100},
        {"target": "configs/quickstart/sample/target_python.jsonl", "ngrams": [1], "smoothing": 0.1},
    )

    target: FilePath
    """JSONL or Parquet file, or glob, of the texts to resemble: the file of `dsir`. With the same fields
    as there nothing is counted twice."""

    raw: str | None = None
    """The node that counts the n-grams of what was selected from, such as `target/raw` of a `dsir` node
    named `target`; without it the divergence alone is told."""

    ngrams: Orders = (1, 2)
    """Which n, as in `dsir`."""

    buckets: Buckets = 10_000
    """How many hash buckets all n-grams share, as in `dsir`."""

    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count, as in `dsir`."""

    def parts(self) -> list[Part]:
        counts = {"ngrams": self.ngrams, "buckets": self.buckets}
        uses = {"target": "target", **({"raw": self.raw} if self.raw else {})}
        return [
            Part("target", "ngram_counts", counts, source=self.target),
            Part("told", "kl_told", {**counts, "smoothing": self.smoothing}, uses),
        ]
