"""CCNet's buckets: head, middle and tail of the documents by perplexity."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from operators.contract import Part, Recipe
from operators.cut import share_below


class PerplexityBuckets(Recipe):
    """Adds `bucket`: which part of the corpus a document is in when it is sorted by a model's loss.

    Wenzek et al. 2020 (CCNet, https://arxiv.org/abs/1911.00359, section 4.2) cut the documents of each
    language by perplexity into head, middle and tail: three even parts in the paper, at the 30th and 60th
    percentile in their code. A perplexity is the exponential of a loss, so either sorts the documents the
    same way. Here the percentiles are exactly those of this corpus, whatever way it is cut: of n documents
    with a loss the first floor(0.3 n) are the head, equal losses in the order of the source; with `by` of
    each group. Documents whose loss is null or NaN have no bucket and count for no percentile.

    Documents of other buckets than `keep` go with the reason `head_bucket`, `middle_bucket`, `tail_bucket`;
    without a loss, where `missing: drop`, with `no_loss`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"loss": "score"},
        {"loss": "score", "by": "domain", "keep": ["head", "middle"], "missing": "drop"},
        {"loss": "label", "by": "domain", "percentiles": [12.5, 50], "names": ["a", "b", "c"], "keep": ["b"]},
    )

    loss: str = "loss"
    """The numeric column that sorts, a loss or a perplexity: `loss` or `loss_per_byte` of `lm_loss`."""

    by: str | None = None
    """A column of strings or integers, such as `language`: each of its values has percentiles of its own."""

    percentiles: Annotated[tuple[Annotated[float, Field(gt=0, lt=100)], ...], Field(min_length=1)] = (30, 60)
    """Where the buckets end, ascending."""

    names: tuple[str, ...] = ("head", "middle", "tail")
    """The buckets' names, the one of the smallest losses first; one more than percentiles."""

    keep: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The buckets that stay; all when not given."""

    missing: Literal["keep", "drop"] = "keep"
    """Documents without a loss stay, with a null as bucket, or are dropped."""

    @model_validator(mode="after")
    def _fit(self) -> PerplexityBuckets:
        if any(a >= b for a, b in pairwise(self.percentiles)):
            raise ValueError(f"perplexity_buckets: percentiles {list(self.percentiles)} must ascend")
        if len(self.names) != len(self.percentiles) + 1 or len(set(self.names)) < len(self.names):
            raise ValueError(
                f"perplexity_buckets: {len(self.percentiles)} percentiles make {len(self.percentiles) + 1} "
                f"buckets; give as many different names, not {', '.join(self.names)}"
            )
        lost = [name for name in self.keep or () if name not in self.names]
        if lost:
            raise ValueError(f"perplexity_buckets: no bucket {lost[0]!r}; there are {', '.join(self.names)}")
        return self

    def parts(self) -> list[Part]:
        shared = {"by": "/key.priority", "group": self.by, "mark": True}
        cuts = [
            Part(f"cut{i}", "cut", {**shared, "keep_share": share_below(percentile)})
            for i, percentile in enumerate(self.percentiles)
        ]
        choice = {"names": self.names, "keep": self.keep, "missing": self.missing}
        return [
            Part("key", "bucket_key", {"loss": self.loss}),
            *cuts,
            Part("buckets", "bucket_choice", choice),
        ]
