"""Semantic duplicates: of documents whose embeddings point nearly the same way, the preferred ones stay."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from operators.contract import Explained, Part, Recipe
from operators.kernels.keep_order import Prefer

_KEEP = r"^(far|near|first|longest|.+:(max|min))$"
_BY_CENTRE = {"far": "/clusters.similarity:min", "near": "/clusters.similarity:max"}


class SemanticDedup(Recipe, Explained):
    """Drops a document if and only if an earlier kept one of its cluster has a cosine >= `threshold`.

    SemDeDup (Abbas et al. 2023, arXiv 2303.09540): the embeddings of any column are clustered by k-means
    (`kmeans`), and only documents of one cluster are compared. 'Earlier' is in keep order (`prefer`,
    `keep`, ties by position). The paper drops a document for any earlier one, also for one that is
    dropped itself, so that a chain of near ones goes although its ends are far apart; here whatever
    goes has a kept partner. `threshold` is the paper's 1 - epsilon.

    Cosines are those of vectors rounded to 15 bits a number: they are off by about 1e-5, and equal for
    any batches, workers or device. What is not found: pairs that k-means puts into two clusters, and, in
    a cluster where more than `window` documents stay, those whose partner was forgotten: `unseen`
    counts the kept documents that a document was not compared with, 0 but in such clusters.

    `drop` is "semantic_duplicate"; `kept` the uid of the nearest earlier kept document of the cluster,
    `similarity` their cosine; null for documents that stay. `cluster` is its number; null, as `unseen` is,
    where there is nothing to compare: null, empty and zero embeddings, and such with a null, NaN or
    infinity. These always stay. ValueError, with the uid, for embeddings of different lengths.
    Runs on the GPU that the process sees, else on the CPU.
    """

    guard: ClassVar[float | None] = 0.95
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"threshold": 0.8, "clusters": 3, "keep": "score:max", "rounds": 2, "window": 4}
        | {"prefer": {"domain": ("wiki", "web")}},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of 16, 32 or 64-bit floats, all of one length up to 4,096."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The cosine from which two documents are duplicates."""
    clusters: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many clusters; by default sqrt(n) / 4 for n embeddings, rounded up, at most 8,192. More
    clusters are less work within, and lose more pairs: with as many as there are different embeddings, each
    has a cluster of its own, and only copies with the same direction are found."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 10
    """Rounds of k-means at most; each reads all embeddings once."""
    keep: Annotated[str, Field(pattern=_KEEP)] = "far"
    """Whom to prefer: `far` from the cluster's centre (as the paper does) or `near` to it, `first`, `longest`
    (most bytes of `text`), `column:max` or `column:min` of a number, a date or an ISO 8601 string (nulls
    and NaN last); ties go to the first."""
    prefer: Prefer = Field(default={})
    """String column -> its values, the best first, such as sources; it decides before `keep` does."""
    window: Annotated[int, Field(ge=1)] = 65_536
    """The last kept documents of its cluster with which each is compared at least. So many are remembered,
    and an eighth more at most, 2 bytes a number (8 on a GPU); the oldest are forgotten."""
    seed: int | None = None
    """Seed of the first centres; the plan derives one from the run's seed and the node's name."""

    def parts(self) -> list[Part]:
        data = {"column": self.embedding}
        how = {"clusters": self.clusters, "rounds": self.rounds, "seed": self.seed}
        return [
            Part("clusters", "kmeans", {**data, **how}),
            Part("rank", "keep_rank", {"keep": _BY_CENTRE.get(self.keep, self.keep), "prefer": self.prefer}),
            Part("decision", "cosine_greedy", {**data, "threshold": self.threshold, "window": self.window}),
        ]

    def explain(self) -> str:
        clusters = f"{self.clusters:,}" if self.clusters else "sqrt(embeddings) / 4, at most 8,192,"
        alone = f"; with {self.clusters:,} embeddings or fewer only equal ones meet" if self.clusters else ""
        return (
            f"{clusters} clusters by k-means, at most {self.rounds} rounds; within them a cosine >= "
            f"{self.threshold:g} (SemDeDup's epsilon {1 - self.threshold:.3g}){alone}\n"
            "shuffled: 2 bytes a number of each embedding and 42 bytes; compared: with the last "
            f"{self.window:,} kept ones of the cluster"
        )
