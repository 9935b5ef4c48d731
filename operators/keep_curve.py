"""What keeping more or fewer of the best rows would give."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from operators.contract import FilePath, Part, Recipe
from operators.ngram_counts import Buckets, Orders


def _ascending(shares: tuple[float, ...]) -> tuple[float, ...]:
    if list(shares) != sorted(set(shares)):
        raise ValueError(f"shares ascend without repeats, got {shares}")
    return shares


Share = Annotated[float, Field(gt=0, lt=1)]


class KeepCurve(Recipe):
    """Tells, at the end of the run and in the report, what each share of the best rows by a score would be:
    how many rows, their mean score, the effective sample size (ESS), with `target` how near their n-grams
    come to the target's, with `truth` how many of them are wanted. It drops nothing and adds no column.

    The shares are those of the rows with a finite score; the rows that a share keeps are exactly those of
    `importance` with `score_is: rank` or `temperature: 0` (`importance_key`, `cut`).

    ESS = (sum w)^2 / sum w^2 with w = exp(score / temperature), in rows: how many rows of equal weight would
    tell as much as a sample by these weights. Far below the number of rows to keep it says that resampling
    is no more than taking the best. In a study of 14,000 chunks sums of DSIR had an ESS of 1 to 3.

    KL(target || kept) in nats over hashed n-grams, smoothed as in `dsir`, and the KL reduction, that of all
    rows minus it (Xie et al. 2023, https://arxiv.org/abs/2302.03169, who find that it goes with accuracy
    after training, r = .82). Few n-grams beside `buckets` are mostly smoothing, so that the smallest shares
    look worse than they are.

    Memory: (shares + 2) x `buckets` x 8 bytes. It reads all texts once more where `target` is given.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"score": "score", "shares": [0.1, 0.5]},
        {
            "score": "words",
            "shares": [0.3],
            "descending": False,
            "temperature": 10.0,
            "truth": "wanted",
            "target": "configs/quickstart/sample/target_python.jsonl",
            "buckets": 100,
        },
    )

    score: str = "log_weight"
    """The numeric column to keep by, such as `dsir`'s log_weight; rows without a finite one count nowhere."""

    shares: Annotated[tuple[Share, ...], AfterValidator(_ascending)] = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7)
    """Which shares of the rows, ascending; all rows are always shown."""

    descending: bool = True
    """Whether the largest scores are kept; otherwise the smallest."""

    temperature: float = Field(1.0, gt=0)
    """The unit of the score (nats) in which the ESS counts it, as in `importance`."""

    truth: str | None = None
    """A boolean column that says which rows are wanted: its share among the kept is the precision."""

    target: FilePath | None = None
    """Texts to compare the kept ones with: the file of `dsir`. With the same fields as there nothing is
    counted twice."""

    ngrams: Orders = (1, 2)
    """Which n, as in `dsir`."""

    buckets: Buckets = 10_000
    """How many hash buckets all n-grams share, as in `dsir`."""

    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count, as in `dsir`."""

    def parts(self) -> list[Part]:
        key = {"score": self.score, "score_is": "rank", "descending": self.descending}
        cuts = [
            Part(f"top_{i}", "cut", {"by": "/key.priority", "keep_share": share, "mark": True})
            for i, share in enumerate(self.shares)
        ]
        counts = {"ngrams": self.ngrams, "buckets": self.buckets}
        target = [Part("target", "ngram_counts", counts, source=self.target)] if self.target else []
        names = ("score", "descending", "temperature", "truth", "ngrams", "buckets", "smoothing")
        fields = {name: getattr(self, name) for name in names}
        fields |= {"within": tuple(f"/{cut.name}.within" for cut in cuts), "texts": bool(target)}
        uses = {"span": "span", **({"target": "target"} if target else {})}
        return [
            Part("key", "importance_key", key),
            *cuts,
            Part("span", "score_span", {"column": self.score}),
            *target,
            Part("curve", "keep_bands", fields, uses),
        ]
