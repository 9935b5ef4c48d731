"""A part of the corpus that is set aside for evaluation, whole near-duplicate clusters at a time."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from operators.contract import Part, Recipe
from operators.minhash_dedup import MinhashDedup, verified_pairs


class Holdout(Recipe):
    """Drops, with the reason "holdout", every document of some near-duplicate clusters, so that what is
    left has no near duplicate of what is held out (up to the pairs that MinHash bands miss).

    A cluster is a connected component over pairs with a Jaccard index >= `threshold`. Each is
    drawn by a number that depends only on `split_seed` and on the least key of its documents: the
    split is the same for any cut of the corpus, run seed or order of the files. The share is an
    expectation, but every group gives at least one cluster. A cluster that has more than `largest` of its
    group's documents (and more than one) is never held out, nor is the whole of a group; so a
    giant cluster cannot empty the pool.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"share": 0.2, "by": "domain"},
        {"docs": 3, "ngram": 2},
    )

    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Expected share of the clusters, and so, but for giant ones, of the documents (0.05 unless `docs`)."""
    docs: Annotated[int, Field(ge=1)] | None = None
    """Instead of `share`: expected number of documents."""
    by: str | None = None
    """A string column: each of its values is a group; a cluster belongs to its leading document's."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The Jaccard index from which two documents belong to one cluster."""
    largest: Annotated[float, Field(gt=0, le=1)] = 0.25
    """A cluster with a larger share of its group's documents is not held out."""
    split_seed: int = 0
    """Chooses the split; not touched by the run's seed."""
    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Words in a shingle."""
    permutations: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = 128
    """Bytes in a signature."""
    numbers: Literal["keep", "zero"] = "keep"
    """`zero`: runs of digits read as 0, so that texts that differ only in numbers are equal."""
    seed: int = 1
    """Chooses the permutations of the signatures."""
    column: str = "text"
    """The text column."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.share is not None and self.docs is not None:
            raise ValueError(f"share = {self.share} and docs = {self.docs}: give one of them")
        return self

    def parts(self) -> list[Part]:
        fields = ("threshold", "ngram", "permutations", "numbers", "seed", "column")
        share = 0.05 if self.share is None and self.docs is None else self.share
        split = {"split_seed": self.split_seed, "largest": self.largest}
        return [
            *verified_pairs(MinhashDedup(**{name: getattr(self, name) for name in fields})),
            Part("clusters", "near_clusters"),
            Part("sizes", "holdout_sizes", {"by": self.by}),
            Part("totals", "holdout_totals"),
            Part("least", "holdout_least", split),
            Part("choice", "holdout_choice", {"share": share, "docs": self.docs, **split}),
        ]
